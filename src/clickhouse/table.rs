use std::time::Duration;

use super::server::Server;
use crate::BoxError;

/// The table where there is none; see [`Table::definition`].
const TABLE: &str = include_str!("table.sql");
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

    /// Makes it if it isn't there. One that was made here learns for how long records are to be kept now.
    pub(super) async fn prepare(&self, server: &Server) -> Result<(), BoxError> {
        let Self { database, name, .. } = self;
        if server.ask(&format!("EXISTS TABLE {}", self.name())).await? != "1" {
            server.ask(&self.definition()).await?;
            return Ok(());
        }
        let engine = format!(
            "SELECT engine_full FROM system.tables WHERE database = '{database}' AND name = '{name}' FORMAT TSVRaw"
        );
        match self.change(&server.ask(&engine).await?) {
            Some(change) => server.ask(&change).await.map(drop),
            None => Ok(()),
        }
    }

    fn definition(&self) -> String {
        TABLE.replace("{table}", &self.name()).replace("{ttl}", &self.ttl().unwrap_or_default())
    }

    fn ttl(&self) -> Option<String> {
        Some(format!("TTL toDateTime(ended) + toIntervalSecond({})", self.age?.as_secs().max(1)))
    }

    /// What makes it keep records for so long, if it does otherwise. A table that others have made, and a time that others
    /// have set, are left alone.
    fn change(&self, engine: &str) -> Option<String> {
        let is_ours = engine.contains(ORDER) && (engine.contains(TTL) || !engine.contains(" TTL "));
        match self.ttl() {
            _ if !is_ours => None,
            Some(ttl) if engine.contains(&ttl) => None,
            Some(ttl) => Some(format!("ALTER TABLE {} MODIFY {ttl}", self.name())),
            None if engine.contains(TTL) => Some(format!("ALTER TABLE {} REMOVE TTL", self.name())),
            None => None,
        }
    }
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
        let own = "MergeTree ORDER BY id".to_owned();
        for (age, engine) in [(Some(9), &theirs), (None, &theirs), (None, &engine("")), (Some(9), &own)] {
            assert_eq!(table(age).change(engine), None);
        }
    }
}
