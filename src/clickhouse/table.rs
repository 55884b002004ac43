use std::time::Duration;

use super::server::Server;
use crate::BoxError;

/// The table where there is none; see [`Table::definition`].
const TABLE: &str = include_str!("table.sql");
/// The columns that tables of earlier versions lack.
const LATER: [(&str, &str); 2] =
    [("attempts.role", "Array(LowCardinality(String))"), ("attempts.key", "Array(LowCardinality(String))")];
/// How the server shows the order of such a table.
const ORDER: &str = "ORDER BY (toStartOfHour(ended), team, key, ended, id)";
/// How it shows how long it keeps records, up to the seconds.
const TTL: &str = "TTL toDateTime(ended) + toIntervalSecond(";

/// Where records are, and for how long.
#[derive(Clone, Debug)]
pub(super) struct Table {
    database: String,
    name: String,
    age: Option<Duration>,
}

impl Table {
    pub(super) fn new(database: String, name: String, age: Option<Duration>) -> Self {
        Self { database, name, age }
    }

    /// As statements have it.
    pub(super) fn name(&self) -> String {
        format!("`{}`.`{}`", self.database, self.name)
    }

    /// Makes it if it isn't there. One that was made here gets the columns that it lacks, and learns for how long records
    /// are to be kept now.
    pub(super) async fn prepare(&self, server: &Server) -> Result<(), BoxError> {
        let Self { database, name, .. } = self;
        if server.ask(&format!("EXISTS TABLE {}", self.name())).await? != "1" {
            server.ask(&self.definition()).await?;
            return Ok(());
        }
        let engine = format!(
            "SELECT engine_full FROM system.tables WHERE database = '{database}' AND name = '{name}' FORMAT TSVRaw"
        );
        let engine = server.ask(&engine).await?;
        if !is_ours(&engine) {
            return Ok(());
        }
        let columns = format!(
            "SELECT name FROM system.columns WHERE database = '{database}' AND table = '{name}' FORMAT TSVRaw"
        );
        let columns = server.ask(&columns).await?;
        for change in self.growth(&columns).into_iter().chain(self.change(&engine)) {
            server.ask(&change).await?;
        }
        Ok(())
    }

    fn definition(&self) -> String {
        TABLE.replace("{table}", &self.name()).replace("{ttl}", &self.ttl().unwrap_or_default())
    }

    fn ttl(&self) -> Option<String> {
        Some(format!("TTL toDateTime(ended) + toIntervalSecond({})", self.age?.as_secs().max(1)))
    }

    /// What gives it the columns that it lacks; `None` if it has all.
    fn growth(&self, columns: &str) -> Option<String> {
        let lacks = |name: &str| columns.lines().all(|column| column != name);
        let added: Vec<_> = LATER
            .iter()
            .filter(|(name, _)| lacks(name))
            .map(|(name, kind)| format!("ADD COLUMN IF NOT EXISTS `{name}` {kind}"))
            .collect();
        (!added.is_empty()).then(|| format!("ALTER TABLE {} {}", self.name(), added.join(", ")))
    }

    /// What makes it keep records for so long, if it does otherwise. A time that others have set is left alone.
    fn change(&self, engine: &str) -> Option<String> {
        let is_theirs = engine.contains(" TTL ") && !engine.contains(TTL);
        match self.ttl() {
            _ if is_theirs => None,
            Some(ttl) if engine.contains(&ttl) => None,
            Some(ttl) => Some(format!("ALTER TABLE {} MODIFY {ttl}", self.name())),
            None if engine.contains(TTL) => Some(format!("ALTER TABLE {} REMOVE TTL", self.name())),
            None => None,
        }
    }
}

/// Whether a table was made here: those that others have made are left alone.
fn is_ours(engine: &str) -> bool {
    engine.contains(ORDER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(age: Option<u64>) -> Table {
        Table::new("d".to_owned(), "t".to_owned(), age.map(Duration::from_secs))
    }

    #[test]
    fn a_table_learns_for_how_long_it_keeps_records_unless_others_have_said_so() {
        let engine = |ttl: &str| {
            format!("MergeTree PARTITION BY toYYYYMM(ended) {ORDER}{ttl} SETTINGS index_granularity = 8192")
        };
        let ours = engine(" TTL toDateTime(ended) + toIntervalSecond(60)");
        let theirs = engine(" TTL toDateTime(ended) + toIntervalDay(3)");

        assert_eq!(table(Some(60)).change(&ours), None);
        let modified = "ALTER TABLE `d`.`t` MODIFY TTL toDateTime(ended) + toIntervalSecond(9)";
        assert_eq!(table(Some(9)).change(&ours).as_deref(), Some(modified));
        assert_eq!(table(Some(9)).change(&engine("")).as_deref(), Some(modified));
        assert_eq!(table(None).change(&ours).as_deref(), Some("ALTER TABLE `d`.`t` REMOVE TTL"));
        for (age, engine) in [(Some(9), &theirs), (None, &theirs), (None, &engine(""))] {
            assert_eq!(table(age).change(engine), None);
        }
        assert!(is_ours(&theirs) && !is_ours("MergeTree ORDER BY id"));
    }
}
