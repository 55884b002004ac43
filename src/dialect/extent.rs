//! [`Extent`]: follows JSON that comes in pieces, to know when it is whole.

/// How far a JSON object or array has been read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extent {
    depth: u32,
    in_string: bool,
    escaped: bool,
    complete: bool,
}

impl Extent {
    /// Reads on.
    pub(crate) fn read(&mut self, piece: &str) {
        for byte in piece.bytes() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                b'{' | b'[' if !self.in_string => self.depth += 1,
                b'}' | b']' if !self.in_string => {
                    self.depth = self.depth.saturating_sub(1);
                    self.complete |= self.depth == 0;
                }
                _ => {}
            }
        }
    }

    /// Whether the outermost bracket has been closed.
    pub(crate) fn is_complete(self) -> bool {
        self.complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_whole_when_its_outermost_bracket_closes() {
        let mut extent = Extent::default();

        for piece in ["", " {\"a\":\"}", "\\", "\"}\",\"b\":[{}", "]"] {
            extent.read(piece);
            assert!(!extent.is_complete(), "after {piece:?}");
        }
        extent.read("}");

        assert!(extent.is_complete());
    }
}
