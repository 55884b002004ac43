use std::{fmt, fmt::Write, sync::LazyLock};

use redis::Cmd;

/// A script and the name by which a server that has seen it knows it.
#[derive(Debug)]
pub(super) struct Script {
    code: &'static str,
    hash: String,
}

macro_rules! script {
    ($name:ident, $file:literal) => {
        pub(super) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(concat!(include_str!("accounts.lua"), "\n", include_str!($file))));
    };
}

script!(RESERVE, "reserve.lua");
script!(SETTLE, "settle.lua");
script!(KEEP, "keep.lua");
script!(RESUME, "resume.lua");
script!(BEAT, "beat.lua");
script!(ORPHANS, "orphans.lua");
script!(BALANCE, "balance.lua");
script!(DAYS, "days.lua");
script!(LOOK, "look.lua");
script!(CHANGE, "change.lua");
script!(ONCE, "once.lua");
script!(BREAKERS, "breakers.lua");
script!(CHAIN, "chain.lua");
script!(CHAINED, "chained.lua");

impl Script {
    fn new(code: &'static str) -> Self {
        Self { code, hash: redis::Script::new(code).get_hash().to_owned() }
    }
}

/// A script with its keys and arguments: one command.
#[derive(Debug)]
pub(super) struct Call {
    script: &'static Script,
    keys: usize,
    /// Keys, then arguments, one behind the other.
    text: String,
    ends: Vec<usize>,
}

impl Call {
    pub(super) fn new(script: &'static Script) -> Self {
        Self { script, keys: 0, text: String::with_capacity(512), ends: Vec::with_capacity(32) }
    }

    /// Adds a key. All keys come before all arguments.
    pub(super) fn key(mut self, key: impl fmt::Display) -> Self {
        debug_assert_eq!(self.keys, self.ends.len(), "keys come first");
        self.keys += 1;
        self.arg(key)
    }

    /// Adds an argument.
    pub(super) fn arg(mut self, arg: impl fmt::Display) -> Self {
        // Writing to a string does not fail.
        let _ = write!(self.text, "{arg}");
        self.ends.push(self.text.len());
        self
    }

    /// The command for a server that knows the script.
    pub(super) fn by_hash(&self) -> Cmd {
        self.command("EVALSHA", &self.script.hash)
    }

    /// The command for one that doesn't, which will know it then.
    pub(super) fn by_code(&self) -> Cmd {
        self.command("EVAL", self.script.code)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut cmd = Cmd::with_capacity(3 + self.ends.len(), self.text.len() + script.len() + 16);
        cmd.arg(name).arg(script).arg(self.keys);
        let mut start = 0;
        for end in &self.ends {
            cmd.arg(&self.text[start..*end]);
            start = *end;
        }
        cmd
    }
}
