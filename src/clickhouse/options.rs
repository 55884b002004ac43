use std::{fmt, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use super::{ClickHouse, server::Server, table::Table};
use crate::secret::Secret;

/// Where ClickHouse is, and who writes there.
#[derive(Clone)]
pub struct ClickHouseOptions {
    base: Box<str>,
    user: Option<Box<str>>,
    password: Option<Secret>,
    database: String,
    table: String,
    timeout: Duration,
    age: Option<Duration>,
}

impl ClickHouseOptions {
    /// The HTTP interface at `url`, such as `http://127.0.0.1:8123` or `https://host:8443`.
    ///
    /// # Errors
    ///
    /// If it is not an address of `http` or `https`, or has more than a host and a path.
    pub fn new(url: &str) -> Result<Self, &'static str> {
        const FORM: &str =
            "expected an address such as http://127.0.0.1:8123, with user, password and database beside it";
        let uri: Uri = url.parse().map_err(|_| FORM)?;
        let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
        let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        if !is_http || has_user || uri.host().is_none_or(str::is_empty) || uri.query().is_some() {
            return Err(FORM);
        }
        Ok(Self {
            base: url.trim_end_matches('/').into(),
            user: None,
            password: None,
            database: "default".to_owned(),
            table: "bartizan_records".to_owned(),
            timeout: Duration::from_secs(10),
            age: None,
        })
    }

    /// Sets who writes; `default` without this.
    #[must_use]
    pub fn user(self, user: impl Into<Box<str>>) -> Self {
        Self { user: Some(user.into()), ..self }
    }

    /// Sets the password of the user; none without this.
    #[must_use]
    pub fn password(self, password: Secret) -> Self {
        Self { password: Some(password), ..self }
    }

    /// Sets the database, which has to be there; `default` without this.
    #[must_use]
    pub fn database(self, database: impl Into<String>) -> Self {
        Self { database: database.into(), ..self }
    }

    /// Sets the table, which is made if it isn't there; `bartizan_records` without this.
    #[must_use]
    pub fn table(self, table: impl Into<String>) -> Self {
        Self { table: table.into(), ..self }
    }

    /// Sets how long a statement may take; ten seconds without this.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sets how old records may be; any age without this.
    #[must_use]
    pub fn age(self, age: Duration) -> Self {
        Self { age: Some(age), ..self }
    }

    /// Who keeps records there. The server need not be there yet.
    ///
    /// # Errors
    ///
    /// If a name or the password has characters that it can't have.
    pub fn open(self) -> Result<ClickHouse, &'static str> {
        if ![&self.database, &self.table].into_iter().all(|name| is_name(name)) {
            return Err("database and table have letters of a-z and A-Z, digits and underscores");
        }
        let headers = self.headers().ok_or("user and password have characters that a header can have")?;
        Ok(ClickHouse {
            server: Server::new(&self.base, headers, self.timeout),
            table: Table::new(self.database, self.table, self.age),
            is_ready: false,
        })
    }

    fn headers(&self) -> Option<HeaderMap> {
        const USER: HeaderName = HeaderName::from_static("x-clickhouse-user");
        const KEY: HeaderName = HeaderName::from_static("x-clickhouse-key");
        let mut headers = HeaderMap::new();
        if let Some(user) = &self.user {
            headers.insert(USER, HeaderValue::from_str(user).ok()?);
        }
        if let Some(password) = &self.password {
            let mut password = HeaderValue::from_str(password.expose()).ok()?;
            password.set_sensitive(true);
            headers.insert(KEY, password);
        }
        Some(headers)
    }
}

/// Whether a database or a table may be called so: statements have its name in quotes that it can't end.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Without the password.
impl fmt::Debug for ClickHouseOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { base, user, database, table, timeout, age, .. } = self;
        f.debug_struct("ClickHouseOptions")
            .field("url", base)
            .field("user", user)
            .field("database", database)
            .field("table", table)
            .field("timeout", timeout)
            .field("age", age)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_meant_is_refused() {
        for url in
            ["", "localhost:8123", "tcp://host:9000", "http://user:word@host:8123", "http://h/?database=x"]
        {
            assert!(ClickHouseOptions::new(url).is_err(), "{url}");
        }
        let options = || ClickHouseOptions::new("http://host:8123/").unwrap();
        assert!(options().open().is_ok());
        assert!(options().database("a`b").open().is_err());
        assert!(options().table("").open().is_err());
        assert!(options().password(Secret::new("a\nb")).open().is_err());
    }

    #[test]
    fn the_password_is_never_shown() {
        let options =
            ClickHouseOptions::new("http://host:8123").unwrap().user("u").password(Secret::new("hunter2"));

        let keeper = options.clone().open().unwrap();

        assert!(!format!("{options:?} {keeper:?}").contains("hunter2"));
    }
}
