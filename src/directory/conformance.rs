//! What every [`Directory`] promises, as tests: [`directory`].

use std::{sync::Arc, time::SystemTime};

use super::{Change, Directory, Document, Revision, Section, Snapshot};

/// Runs the whole suite. `new` makes an empty directory for each of its parts.
///
/// # Panics
///
/// If a promise is broken.
pub async fn directory<D: Directory>(new: impl AsyncFn() -> Arc<D>) {
    an_empty_directory_is_at_zero(&*new().await).await;
    what_was_written_is_read(&*new().await).await;
    what_has_not_changed_is_not_read_again(&*new().await).await;
    what_was_deleted_is_gone(&*new().await).await;
    names_of_sections_are_apart_and_any_text(&*new().await).await;
    of_two_writers_one_is_told_to_look_again(new().await).await;
}

async fn all(directory: &dyn Directory) -> Snapshot {
    directory.read(None).await.expect("can be read").expect("is read when nothing is known")
}

async fn written(directory: &dyn Directory, change: Change) -> Revision {
    let at = all(directory).await.revision;
    directory.write(at, change).await.expect("can be written").expect("nobody else writes")
}

async fn an_empty_directory_is_at_zero(directory: &dyn Directory) {
    let snapshot = all(directory).await;

    assert_eq!((snapshot.revision, snapshot.documents), (Revision(0), Vec::new()));
}

async fn what_was_written_is_read(directory: &dyn Directory) {
    let before = SystemTime::now() - std::time::Duration::from_secs(1);
    let first = written(directory, Change::put(Section::Keys, "b", r#"{"a":1}"#)).await;
    let second = written(directory, Change::put(Section::Keys, "a", "{}")).await;
    let third = written(directory, Change::put(Section::Keys, "b", r#"{"a":2}"#)).await;

    let Snapshot { revision, documents } = all(directory).await;

    assert!(first < second && second < third && third == revision);
    let shown = |document: &Document| (document.name.to_string(), document.content.to_string());
    let said: Vec<_> = documents.iter().map(shown).collect();
    assert_eq!(said, [("a".into(), "{}".into()), ("b".into(), r#"{"a":2}"#.into())]);
    assert_eq!([documents[0].version, documents[1].version], [second, third]);
    assert!(documents.iter().all(|document| document.changed >= before));
}

async fn what_has_not_changed_is_not_read_again(directory: &dyn Directory) {
    let first = written(directory, Change::put(Section::Keys, "a", "{}")).await;

    assert!(directory.read(Some(first)).await.expect("can be read").is_none());
    let second = written(directory, Change::put(Section::Keys, "a", "{}")).await;
    let snapshot = directory.read(Some(first)).await.expect("can be read").expect("it has changed");
    assert_eq!((snapshot.revision, snapshot.documents.len()), (second, 1));
}

async fn what_was_deleted_is_gone(directory: &dyn Directory) {
    let first = written(directory, Change::put(Section::Keys, "a", "{}")).await;
    let second = written(directory, Change::delete(Section::Keys, "a")).await;
    let third = written(directory, Change::delete(Section::Keys, "never there")).await;

    assert!(first < second && second < third);
    assert_eq!(all(directory).await.documents, Vec::new());
}

async fn names_of_sections_are_apart_and_any_text(directory: &dyn Directory) {
    let odd = "it's \"100 %\" odd/é\u{1F600}";
    for section in [Section::Keys, Section::Customers, Section::Teams] {
        let content = format!(r#"{{"of":"{}"}}"#, section.as_str());
        written(directory, Change::put(section, odd, content)).await;
    }
    written(directory, Change::delete(Section::Teams, odd)).await;

    let documents = all(directory).await.documents;

    let sections: Vec<_> = documents.iter().map(|document| document.section).collect();
    assert_eq!(sections, [Section::Customers, Section::Keys]);
    assert!(documents.iter().all(|document| &*document.name == odd));
    assert_eq!(&*documents[1].content, r#"{"of":"keys"}"#);
}

async fn of_two_writers_one_is_told_to_look_again<D: Directory>(directory: Arc<D>) {
    let writers = (0..10).map(|n| {
        let directory = directory.clone();
        async move {
            let change = Change::put(Section::Keys, &format!("k{n}"), "{}");
            directory.write(Revision(0), change).await.expect("can be written")
        }
    });

    let told = futures_util::future::join_all(writers).await;

    assert_eq!(told.iter().flatten().count(), 1);
    let snapshot = all(&*directory).await;
    assert_eq!((Some(snapshot.revision), snapshot.documents.len()), (told.into_iter().flatten().next(), 1));
}
