-- From when on there are sums of all records, in seconds of Unix time.
ALTER TABLE version ADD COLUMN sums_since bigint NOT NULL DEFAULT 0;

-- What sums are told apart by. The hash is of all of it: an index has no use for so many names. A day is one of Unix
-- time, the last one on which there was such a record; groups are forgotten by it.
CREATE TABLE groups (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash bytea NOT NULL UNIQUE,
    day integer NOT NULL,
    level smallint NOT NULL,
    key text,
    team text,
    customer text,
    end_user text,
    feature text,
    model text,
    target text,
    provider text,
    status integer,
    error text,
    finish text,
    failed boolean NOT NULL
);

-- Sums of minutes (step 0), hours (1) and days (2), from a second of Unix time on. Histograms are their buckets and how
-- many are in each; one behind the other they are their sum.
CREATE TABLE sums (
    level smallint NOT NULL,
    step smallint NOT NULL,
    at bigint NOT NULL,
    group_id bigint NOT NULL,
    requests bigint NOT NULL,
    attempts bigint NOT NULL,
    input bigint NOT NULL,
    cached bigint NOT NULL,
    output bigint NOT NULL,
    reasoning bigint NOT NULL,
    cost bigint NOT NULL,
    writing_ms bigint NOT NULL,
    latency bytea NOT NULL,
    first_event bytea NOT NULL,
    overhead bytea NOT NULL,
    PRIMARY KEY (level, step, at, group_id)
) WITH (fillfactor = 80);
