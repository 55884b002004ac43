//! Marks up to which a prompt is cached.

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

/// Takes the first marks away when there are too many: the last ones reach furthest.
pub(super) fn limit(
    tools: &mut [Tool<'_>],
    system: &mut [Block<'_>],
    messages: &mut [Message<'_>],
    lost: &mut Lost,
) {
    let mut marks: Vec<&mut Option<CacheControl>> = Vec::new();
    for tool in tools {
        if let Tool::Custom { cache_control, .. } = tool {
            marks.push(cache_control);
        }
    }
    collect(system, &mut marks);
    for message in messages {
        collect(&mut message.content, &mut marks);
    }
    marks.retain(|mark| mark.is_some());
    let excess = marks.len().saturating_sub(MAX_MARKS);
    lost.push_if(excess > 0, "cache_control");
    for mark in marks.into_iter().take(excess) {
        *mark = None;
    }
}

fn collect<'m>(blocks: &'m mut [Block<'_>], marks: &mut Vec<&'m mut Option<CacheControl>>) {
    for block in blocks {
        if let Block::ToolResult { content, cache_control, .. } = block {
            collect(content, marks);
            marks.push(cache_control);
        } else if let Some(mark) = block.cache_control() {
            marks.push(mark);
        }
    }
}
