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
    pub(super) read: Statement,
}

// All of them take rows in the order of their keys, and accounts before holds, so that nobody waits for
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
INSERT INTO holds (node, number, record) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[])";

const END: &str = "\
DELETE FROM holds WHERE (node, number) IN (SELECT * FROM unnest($1::bigint[], $2::bigint[]))";

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
pub(super) const SWEEP: [&str; 3] = [
    "DELETE FROM accounts WHERE id IN (
        SELECT id FROM accounts WHERE idle_from < extract(epoch FROM now())::bigint - 86400
        LIMIT 1000 FOR UPDATE SKIP LOCKED)",
    "DELETE FROM holds WHERE (node, number) IN (
        SELECT node, number FROM holds WHERE charged IS NOT NULL AND changed < now() - interval '1 day'
        LIMIT 1000 FOR UPDATE SKIP LOCKED)",
    "DELETE FROM nodes WHERE until < now() - interval '1 day'",
];
