//! What every [`Audit`] promises, as tests: [`audit`].

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{Added, Audit, Entry, Event, EventKind, Filter, Head, Trail, find, verify};
use crate::ledger::MemoryLedger;

/// Runs the whole suite. `new` makes an empty store for each of its parts.
///
/// # Panics
///
/// If a promise is broken.
pub async fn audit<A: Audit>(new: impl AsyncFn() -> Arc<A>) {
    an_empty_chain_has_no_end(&*new().await).await;
    what_was_entered_is_read_in_its_order(&*new().await).await;
    only_what_continues_the_chain_is_added(&*new().await).await;
    entries_are_found_newest_first(&*new().await).await;
    of_many_writers_each_has_a_place_of_its_own([new().await].as_slice()).await;
}

/// What nodes promise that share a store: each of `nodes` is one.
///
/// # Panics
///
/// If a promise is broken.
pub async fn shared<A: Audit>(nodes: &[Arc<A>]) {
    of_many_writers_each_has_a_place_of_its_own(nodes).await;
}

fn event(what: &str) -> Event {
    Event::new(EventKind::Change, "it's \"100 %\" odd/é\u{1F600}\n", what).detail("b", "c").detail("a", 1)
}

async fn entered(audit: &dyn Audit, event: &Event) -> Entry {
    let last = audit.last().await.expect("can be asked");
    let entry = Entry::after(last.as_ref(), event, SystemTime::now());
    assert_eq!(audit.add(&entry).await.expect("can be asked"), Added::Yes);
    entry
}

async fn an_empty_chain_has_no_end(audit: &dyn Audit) {
    assert_eq!(audit.last().await.expect("can be asked"), None);
    assert_eq!(audit.read(1, 10).await.expect("can be asked"), []);
    assert_eq!(verify(audit, None).await.expect("can be asked"), Ok(None));
}

async fn what_was_entered_is_read_in_its_order(audit: &dyn Audit) {
    let mut entries = Vec::new();
    for what in ["a", "b", "c"] {
        entries.push(entered(audit, &event(what)).await);
    }

    assert_eq!(audit.read(1, 10).await.expect("can be asked"), entries);
    assert_eq!(audit.read(2, 1).await.expect("can be asked"), entries[1..2]);
    assert_eq!(audit.read(4, 10).await.expect("can be asked"), []);
    assert_eq!(audit.last().await.expect("can be asked"), entries.pop());
}

async fn only_what_continues_the_chain_is_added(audit: &dyn Audit) {
    let first = entered(audit, &event("first")).await;
    let second = entered(audit, &event("second")).await;

    let now = SystemTime::now();
    let late = Entry::after(Some(&first), &event("late"), now);
    let next = Entry::after(Some(&second), &event("next"), now);
    let early = Entry::after(Some(&next), &event("early"), now);
    let other = Entry::after(Some(&late), &event("of another chain"), now);
    for wrong in [&late, &early, &other, &Entry::after(None, &event("anew"), now)] {
        let added = audit.add(wrong).await.expect("can be asked");
        assert_eq!(added, Added::No(Some(second.clone())), "{wrong:?}");
    }

    assert_eq!(audit.add(&next).await.expect("can be asked"), Added::Yes);
    let head = verify(audit, None).await.expect("can be asked");
    assert_eq!(head, Ok(Some(Head::from(&next))));
}

async fn entries_are_found_newest_first(audit: &dyn Audit) {
    for number in 0..7 {
        let kind = if number % 2 == 0 { EventKind::Key } else { EventKind::Model };
        entered(audit, &Event::new(kind, "me", number.to_string())).await;
    }
    let what = |entries: Vec<Entry>| -> Vec<String> {
        entries.iter().map(|entry| entry.value()["what"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let keys = Filter { kind: Some("key".into()), ..Filter::default() };

    let first = find(audit, &keys, None, 3).await.expect("can be asked");
    let rest = find(audit, &keys, first.next, 3).await.expect("can be asked");

    assert_eq!(first.head.map(|head| head.number), Some(7));
    assert_eq!(
        (what(first.entries), what(rest.entries)),
        (["6", "4", "2"].map(String::from).into(), vec!["0".into()])
    );
    assert_eq!(rest.next, None);
    let old = Filter { until: Some(SystemTime::now() - Duration::from_secs(60)), ..Filter::default() };
    assert_eq!(find(audit, &old, None, 3).await.expect("can be asked").entries, []);
}

async fn of_many_writers_each_has_a_place_of_its_own<A: Audit>(nodes: &[Arc<A>]) {
    const WRITERS: usize = 4;
    const EACH: usize = 10;

    let writers = nodes.iter().flat_map(|node| [node; WRITERS]).map(|node| async {
        let (trail, worker) = Trail::new(node.clone(), Arc::new(MemoryLedger::default()));
        for number in 0..EACH {
            trail.enter(&event(&number.to_string())).await.expect("can be entered");
        }
        drop(trail);
        worker.await;
    });

    futures_util::future::join_all(writers).await;

    for node in nodes {
        let head = verify(&**node, None).await.expect("can be asked").expect("is whole");
        assert_eq!(head.map(|head| head.number), Some((nodes.len() * WRITERS * EACH) as u64));
    }
}
