-- Whether the tables are hypertables of TimescaleDB.
CREATE TABLE version (version integer NOT NULL, is_hypertable boolean NOT NULL);

-- What is listed, filtered and summed up by. No two records ended at the same time: one of them stands a microsecond
-- later. Times are microseconds, money is billionths of a dollar, and buckets are those of histograms.
CREATE TABLE records (
    ended timestamptz NOT NULL,
    minute integer NOT NULL,
    duration bigint NOT NULL,
    first_event bigint,
    overhead bigint,
    duration_bucket smallint NOT NULL,
    first_event_bucket smallint,
    overhead_bucket smallint,
    status integer,
    ending text NOT NULL,
    error text,
    key text,
    team text,
    customer text,
    end_user text,
    session text,
    trace text,
    feature text,
    model text,
    target text,
    provider text,
    finish text,
    tags jsonb,
    attempts integer NOT NULL,
    input bigint NOT NULL,
    cached bigint NOT NULL,
    output bigint NOT NULL,
    reasoning bigint NOT NULL,
    cost bigint NOT NULL,
    estimated boolean NOT NULL,
    stream boolean NOT NULL,
    has_text boolean NOT NULL,
    PRIMARY KEY (ended)
);

-- What is shown of one of them.
CREATE TABLE details (
    ended timestamptz NOT NULL,
    id text NOT NULL,
    message text,
    record json NOT NULL,
    request text,
    answer text,
    pieces json,
    is_cut boolean NOT NULL,
    PRIMARY KEY (ended)
);

CREATE INDEX records_by_key ON records (key, ended);
CREATE INDEX records_by_team ON records (team, ended);
CREATE INDEX records_by_model ON records (model, ended);
CREATE INDEX records_by_customer ON records (customer, ended) WHERE customer IS NOT NULL;
CREATE INDEX records_by_user ON records (end_user, ended) WHERE end_user IS NOT NULL;
CREATE INDEX records_by_session ON records (session, ended) WHERE session IS NOT NULL;
CREATE INDEX records_by_trace ON records (trace) WHERE trace IS NOT NULL;
CREATE INDEX records_by_failure ON records (ended) WHERE error IS NOT NULL OR status >= 400;
CREATE INDEX records_by_tags ON records USING gin (tags jsonb_path_ops);
CREATE INDEX details_by_id ON details (id);
