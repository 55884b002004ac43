CREATE TABLE version (version integer NOT NULL);
INSERT INTO version VALUES (1);

-- What is used and held. `state` is what counts; `used`, `held` and `began` say the same to people.
CREATE TABLE accounts (
    id bytea PRIMARY KEY,
    account text NOT NULL,
    measure text NOT NULL,
    period text NOT NULL,
    state text NOT NULL DEFAULT '',
    used bigint NOT NULL DEFAULT 0,
    held bigint NOT NULL DEFAULT 0,
    began bigint NOT NULL DEFAULT 0,
    idle_from bigint DEFAULT 0
) WITH (fillfactor = 70);

-- What is held, until it is settled. `kept_as` is set while a hold belongs to no node, `charged` when its
-- node was gone, or when nothing was held because this store was away.
CREATE TABLE holds (
    node bigint NOT NULL,
    number bigint NOT NULL,
    record text NOT NULL,
    kept_as bytea UNIQUE,
    charged text,
    changed timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (node, number)
);

-- What was settled on accounts on each day, in UTC; money is billionths of a dollar.
CREATE TABLE days (
    day date NOT NULL,
    id bytea NOT NULL,
    account text NOT NULL,
    requests bigint NOT NULL,
    usd bigint NOT NULL,
    input bigint NOT NULL,
    output bigint NOT NULL,
    PRIMARY KEY (day, id)
) WITH (fillfactor = 70);

-- What was done once, and until when that is remembered, in microseconds since 1970.
CREATE TABLE marks (id bytea PRIMARY KEY, name text NOT NULL, until bigint NOT NULL);

CREATE TABLE nodes (node bigint PRIMARY KEY, until timestamptz NOT NULL);

CREATE TABLE documents (
    section text NOT NULL,
    name text NOT NULL,
    content text NOT NULL,
    version bigint NOT NULL,
    changed timestamptz NOT NULL,
    PRIMARY KEY (section, name)
);

CREATE TABLE directory (revision bigint NOT NULL);
INSERT INTO directory VALUES (0);
