use super::{
    connection::{Connection, Failure},
    group::signed,
};
use crate::directory::{Change, Document, Revision, Section, Snapshot};

const LOOK: &str = "\
SELECT revision, section, name, content, version, changed
FROM directory LEFT JOIN documents ON true WHERE revision IS DISTINCT FROM $1";

/// A change is one statement, and so one transaction. Revisions go by the clock, so that what is lost and
/// written anew never comes to a revision that a node already knows.
const CHANGE: &str = "\
WITH next AS (
    UPDATE directory
    SET revision = greatest(revision + 1, (extract(epoch FROM now()) * 1000)::bigint)
    WHERE revision = $1 RETURNING revision
), put AS (
    INSERT INTO documents (section, name, content, version, changed)
    SELECT $2, $3, $4::text, revision, now() FROM next WHERE $4::text IS NOT NULL
    ON CONFLICT (section, name) DO UPDATE
    SET content = excluded.content, version = excluded.version, changed = excluded.changed
), taken AS (
    DELETE FROM documents
    WHERE section = $2 AND name = $3 AND $4::text IS NULL AND EXISTS (SELECT FROM next)
)
SELECT revision FROM next";

/// Everything, unless it is still at the revision that is known.
pub(super) async fn look(
    Connection { client, .. }: &Connection,
    known: Option<u64>,
) -> Result<Option<Snapshot>, Failure> {
    let rows = client.query(LOOK, &[&known.map(signed)]).await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let mut documents = Vec::with_capacity(rows.len());
    for row in &rows {
        let Some(section) = row.try_get::<_, Option<&str>>(1)? else { continue };
        let unknown = || Failure::Refused(format!("there is no section {section}").into());
        documents.push(Document {
            section: Section::named(section).ok_or_else(unknown)?,
            name: row.try_get::<_, &str>(2)?.into(),
            content: row.try_get::<_, &str>(3)?.into(),
            version: Revision(row.try_get::<_, i64>(4)?.cast_unsigned()),
            changed: row.try_get(5)?,
        });
    }
    documents.sort_by(|a, b| (a.section, &a.name).cmp(&(b.section, &b.name)));
    let revision = Revision(first.try_get::<_, i64>(0)?.cast_unsigned());
    Ok(Some(Snapshot { revision, documents }))
}

/// Makes a change if the revision is `at`; says which one it is then.
pub(super) async fn change(
    Connection { client, .. }: &Connection,
    at: u64,
    Change { section, name, content }: &Change,
) -> Result<Option<u64>, Failure> {
    let (name, content) = (&**name, content.as_deref());
    let next = client.query_opt(CHANGE, &[&signed(at), &section.as_str(), &name, &content]).await?;
    Ok(next.map(|next| next.try_get::<_, i64>(0)).transpose()?.map(i64::cast_unsigned))
}
