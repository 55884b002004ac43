//! Marks up to which a prompt is cached.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::wire::write::{Block, CacheControl, Message, Tool};
use crate::dialect::{canonical::Cache, lost::Lost};

/// Anthropic refuses requests with more marks.
const MAX_MARKS: usize = 4;

/// The mark for a part or a tool.
pub(super) fn mark(cache: Option<Cache>) -> Option<CacheControl> {
    let ttl = match cache? {
        Cache::Default => None,
        Cache::Hour => Some("1h"),
    };
    Some(CacheControl { kind: "ephemeral", ttl })
}

/// Takes the first marks away when there are too many: the last ones reach furthest. Those inside of blocks
/// that are passed on as they are stay.
pub(super) fn limit(
    tools: &mut [Tool<'_>],
    system: &mut [Block<'_>],
    messages: &mut [Message<'_>],
    lost: &mut Lost,
) {
    let mut marks = Marks::default();
    for tool in tools {
        match tool {
            Tool::Custom { cache_control, .. } => marks.removable.push(cache_control),
            Tool::Opaque(raw) => marks.fixed += usize::from(is_marked(raw)),
        }
    }
    marks.collect(system);
    for message in messages {
        marks.collect(&mut message.content);
    }
    let Marks { mut removable, fixed } = marks;
    removable.retain(|mark| mark.is_some());
    let excess = removable.len().saturating_sub(MAX_MARKS.saturating_sub(fixed));
    lost.push_if(excess > 0, "cache_control");
    for mark in removable.into_iter().take(excess) {
        *mark = None;
    }
}

#[derive(Default)]
struct Marks<'m> {
    removable: Vec<&'m mut Option<CacheControl>>,
    fixed: usize,
}

impl<'m> Marks<'m> {
    fn collect(&mut self, blocks: &'m mut [Block<'_>]) {
        for block in blocks {
            match block {
                Block::ToolResult { content, cache_control, .. } => {
                    self.collect(content);
                    self.removable.push(cache_control);
                }
                Block::Opaque(raw) => self.fixed += usize::from(is_marked(raw)),
                block => self.removable.extend(block.cache_control()),
            }
        }
    }
}

fn is_marked(raw: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Marked {
        cache_control: Option<IgnoredAny>,
    }
    serde_json::from_str::<Marked>(raw.get()).is_ok_and(|block| block.cache_control.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_blocks_that_are_passed_on_as_they_are_count_too() {
        let raw = |json: &str| RawValue::from_string(json.to_owned()).unwrap();
        let marked = raw(r#"{"type":"search_result","cache_control":{"type":"ephemeral"}}"#);
        let unmarked = raw(r#"{"type":"search_result","cache_control":null}"#);
        let text = || Block::Text {
            text: "x".into(),
            citations: Vec::new(),
            cache_control: mark(Some(Cache::Default)),
        };
        let mut system: Vec<_> = (0..4).map(|_| text()).collect();
        system.extend([Block::Opaque(&marked), Block::Opaque(&unmarked)]);
        let mut lost = Lost::default();

        limit(&mut [], &mut system, &mut [], &mut lost);

        let left = |block: &mut Block<'_>| block.cache_control().is_some_and(|mark| mark.is_some());
        let left: Vec<bool> = system.iter_mut().map(left).collect();
        assert_eq!(left, [false, true, true, true, false, false]);
    }
}
