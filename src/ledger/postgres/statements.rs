use tokio_postgres::{Client, Statement};

use super::connection::Failure;

/// What a connection is asked again and again.
pub(super) struct Statements {
    pub(super) now: Statement,
    pub(super) open: Statement,
    pub(super) lock: Statement,
    pub(super) holds: Statement,
    pub(super) save: Statement,
    pub(super) hold: Statement,
    pub(super) end: Statement,
    pub(super) add_days: Statement,
    pub(super) read: Statement,
}

// All of them take rows in the order of their keys, and accounts before holds before days, so that nobody waits for
// somebody who waits.

/// Makes accounts that aren't there. In a transaction: the rows of others that are made at the same time are
/// waited for.
const OPEN: &str = "\
INSERT INTO accounts (id, account, measure, period)
SELECT * FROM unnest($1::bytea[], $2::text[], $3::text[], $4::text[]) AS new (id, account, measure, period)
WHERE NOT EXISTS (SELECT FROM accounts WHERE accounts.id = new.id)
ORDER BY id ON CONFLICT DO NOTHING";

const LOCK: &str = "SELECT id, state FROM accounts WHERE id = ANY($1::bytea[]) ORDER BY id FOR UPDATE";

const HOLDS: &str = "\
SELECT node, number, record, kept_as, charged,
       EXISTS (SELECT FROM nodes WHERE nodes.node = holds.node AND until > now())
FROM holds WHERE (node, number) IN (SELECT * FROM unnest($1::bigint[], $2::bigint[]))
ORDER BY node, number FOR UPDATE";

const SAVE: &str = "\
UPDATE accounts
SET state = new.state, used = new.used, held = new.held, began = new.began, idle_from = new.idle_from
FROM unnest($1::bytea[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
    AS new (id, state, used, held, began, idle_from)
WHERE accounts.id = new.id";

const HOLD: &str = "\
INSERT INTO holds (node, number, record, charged)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[])";

const END: &str = "\
DELETE FROM holds WHERE (node, number) IN (SELECT * FROM unnest($1::bigint[], $2::bigint[]))";

/// Adds to days, or takes away where something is corrected. A sum stops at the largest number.
const ADD_DAYS: &str = "\
INSERT INTO days AS known (day, id, account, requests, usd, input, output)
SELECT date '1970-01-01' + day, id, account, requests, usd, input, output
FROM unnest($1::integer[], $2::bytea[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])
    AS new (day, id, account, requests, usd, input, output)
ORDER BY day, id
ON CONFLICT (day, id) DO UPDATE SET
    requests = least(known.requests::numeric + excluded.requests, 9223372036854775807),
    usd = greatest(least(known.usd::numeric + excluded.usd, 9223372036854775807), 0),
    input = greatest(least(known.input::numeric + excluded.input, 9223372036854775807), 0),
    output = greatest(least(known.output::numeric + excluded.output, 9223372036854775807), 0)";

/// The days of an account, one lookup for each: there are many more accounts than days.
pub(super) const DAYS: &str = "\
SELECT asked.day, requests, usd, input, output
FROM generate_series($2::integer, $3::integer) AS asked (day)
JOIN days ON days.day = date '1970-01-01' + asked.day AND id = $1
ORDER BY asked.day";

/// Notes that something was done; there is a row if that was not noted before.
pub(super) const MARK: &str = "\
INSERT INTO marks AS known (id, name, until)
SELECT $1, $2, now + $3 FROM (SELECT coalesce($4, (extract(epoch FROM now()) * 1000000)::bigint) AS now) AS clock
ON CONFLICT (id) DO UPDATE SET until = excluded.until WHERE known.until <= excluded.until - $3
RETURNING true";

impl Statements {
    pub(super) async fn prepare(client: &Client) -> Result<Self, Failure> {
        Ok(Self {
            now: client.prepare("SELECT (extract(epoch FROM now()) * 1000000)::bigint").await?,
            open: client.prepare(OPEN).await?,
            lock: client.prepare(LOCK).await?,
            holds: client.prepare(HOLDS).await?,
            save: client.prepare(SAVE).await?,
            hold: client.prepare(HOLD).await?,
            end: client.prepare(END).await?,
            add_days: client.prepare(ADD_DAYS).await?,
            read: client.prepare("SELECT id, state FROM accounts WHERE id = ANY($1::bytea[])").await?,
        })
    }
}

/// Renews the lease of a node; says whether it had one.
pub(super) const BEAT: &str = "\
INSERT INTO nodes VALUES ($1, now() + $2::bigint * interval '1 ms')
ON CONFLICT (node) DO UPDATE SET until = excluded.until
RETURNING EXISTS (SELECT FROM nodes AS before WHERE before.node = $1 AND before.until > now())";

/// Some holds of nodes whose lease is over.
pub(super) const ORPHANS: &str = "\
SELECT node, number, record FROM holds
WHERE kept_as IS NULL AND charged IS NULL
    AND NOT EXISTS (SELECT FROM nodes WHERE nodes.node = holds.node AND until > now())
ORDER BY node, number LIMIT 100";

/// Marks a hold as charged.
pub(super) const CHARGE: &str =
    "UPDATE holds SET charged = $3, changed = now() WHERE node = $1 AND number = $2";

/// Puts a hold aside, if there is room and the name is free.
pub(super) const KEEP: &str = "\
UPDATE holds SET kept_as = $3, changed = now()
WHERE node = $1 AND number = $2
    AND NOT EXISTS (SELECT FROM holds WHERE kept_as = $3)
    AND (SELECT count(*) FROM holds WHERE kept_as IS NOT NULL) < 100000";

/// Gives a kept hold to a node, under a new id.
pub(super) const RESUME: &str = "\
UPDATE holds SET node = $1, number = $2, kept_as = NULL, changed = now()
WHERE kept_as = $3 RETURNING record";

/// Forgets what is done with for a day.
pub(super) const SWEEP: [&str; 5] = [
    "DELETE FROM accounts WHERE id IN (
        SELECT id FROM accounts WHERE idle_from < extract(epoch FROM now())::bigint - 86400
        LIMIT 1000 FOR UPDATE SKIP LOCKED)",
    "DELETE FROM holds WHERE (node, number) IN (
        SELECT node, number FROM holds WHERE charged IS NOT NULL AND changed < now() - interval '1 day'
        LIMIT 1000 FOR UPDATE SKIP LOCKED)",
    "DELETE FROM nodes WHERE until < now() - interval '1 day'",
    "DELETE FROM marks WHERE id IN (
        SELECT id FROM marks WHERE until < (extract(epoch FROM now()) * 1000000)::bigint
        LIMIT 1000 FOR UPDATE SKIP LOCKED)",
    "DELETE FROM days WHERE (day, id) IN (
        SELECT day, id FROM days WHERE day < (now() AT TIME ZONE 'UTC')::date - 399
        LIMIT 10000 FOR UPDATE SKIP LOCKED)",
];
