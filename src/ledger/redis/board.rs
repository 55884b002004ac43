use std::{fmt, sync::Arc, time::Duration};

use redis::from_redis_value;

use super::{
    Shared, not_understood,
    script::{BREAKERS, Call},
};
use crate::{
    BoxFuture, Error, Kind,
    breaker::{Board, Notice},
};

/// A [`Board`] beside the balances, for all gateways that have the same server and prefix.
#[derive(Clone)]
pub struct RedisBoard(Arc<Shared>);

impl RedisBoard {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    async fn ask(&self, new: &[Notice]) -> Result<Vec<Notice>, Error> {
        self.0.is_there()?;
        let mut call = Call::new(&BREAKERS).key(self.0.keys.breakers());
        for Notice { target, open_for, why } in new {
            call = call.arg(target).arg(open_for.as_millis()).arg(why);
        }
        let noted: Vec<(String, u64, String)> =
            from_redis_value(self.0.ask(&call).await?).map_err(not_understood)?;
        let notice = |(target, left, why): (String, u64, String)| Notice {
            target: target.into(),
            open_for: Duration::from_millis(left),
            why: kind(&why),
        };
        Ok(noted.into_iter().map(notice).collect())
    }
}

/// What a target is to blame for, by its name.
fn kind(name: &str) -> Kind {
    let kinds = [
        Kind::Unreachable,
        Kind::Timeout,
        Kind::Overloaded,
        Kind::RateLimited,
        Kind::UpstreamAuth,
        Kind::Billing,
    ];
    kinds.into_iter().find(|kind| kind.as_str() == name).unwrap_or(Kind::Upstream)
}

impl Board for RedisBoard {
    fn exchange<'a>(&'a self, new: &'a [Notice]) -> BoxFuture<'a, Result<Vec<Notice>, Error>> {
        Box::pin(self.ask(new))
    }
}

impl fmt::Debug for RedisBoard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisBoard")
    }
}
