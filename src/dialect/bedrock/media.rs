//! The formats of images and documents that Bedrock takes, by its names for them.

use crate::dialect::media;

/// The format of an image: by the first bytes, because what clients say is often wrong; else what they say.
pub(super) fn image(said: &str, base64: &str) -> Option<&'static str> {
    let of = |media_type: &str| match media_type {
        "image/jpeg" | "image/jpg" => Some("jpeg"),
        "image/png" => Some("png"),
        "image/gif" => Some("gif"),
        "image/webp" => Some("webp"),
        _ => None,
    };
    media::sniffed(base64).and_then(of).or_else(|| of(&said.to_ascii_lowercase()))
}

/// The format of a document, likewise.
pub(super) fn document(said: &str, base64: &str) -> Option<&'static str> {
    if media::sniffed(base64) == Some("application/pdf") {
        return Some("pdf");
    }
    Some(match said.to_ascii_lowercase().split(';').next().unwrap_or_default().trim() {
        "application/pdf" => "pdf",
        "application/msword" => "doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => "docx",
        "application/vnd.ms-excel" => "xls",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "xlsx",
        "text/csv" => "csv",
        "text/html" => "html",
        "text/markdown" => "md",
        "application/json" => "txt",
        other if other.starts_with("text/") => "txt",
        _ => return None,
    })
}

/// The format of an image at this address, by its ending.
pub(super) fn image_at(address: &str) -> Option<&'static str> {
    match ending(address)?.as_str() {
        "jpeg" | "jpg" => Some("jpeg"),
        "png" => Some("png"),
        "gif" => Some("gif"),
        "webp" => Some("webp"),
        _ => None,
    }
}

/// The format of a document at this address, by its ending.
pub(super) fn document_at(address: &str) -> Option<&'static str> {
    const FORMATS: [&str; 9] = ["pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"];

    let ending = ending(address)?;
    FORMATS.into_iter().find(|format| **format == ending)
}

fn ending(address: &str) -> Option<String> {
    Some(address.rsplit('/').next()?.rsplit_once('.')?.1.to_ascii_lowercase())
}

/// A document's name in the characters that Bedrock takes, which are those of no path.
pub(super) fn name(title: &str) -> String {
    const LONGEST: usize = 180;

    let allowed = |char: char| char.is_ascii_alphanumeric() || "-()[]".contains(char);
    let clean: String =
        title.chars().take(LONGEST).map(|char| if allowed(char) { char } else { ' ' }).collect();
    // One space after another is refused.
    let clean = clean.split_whitespace().collect::<Vec<_>>().join(" ");
    if clean.is_empty() { "document".into() } else { clean }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_known_by_type_by_first_bytes_and_by_ending() {
        assert_eq!((image("image/jpg", "AAAA"), image("image/bmp", "AAAA")), (Some("jpeg"), None));
        assert_eq!(image("image/png", "/9j/4AAQ"), Some("jpeg"));
        assert_eq!(document("application/octet-stream", "JVBERi0x"), Some("pdf"));
        assert_eq!(document("text/markdown; charset=utf-8", "IyBI"), Some("md"));
        assert_eq!((document("text/x-rust", "Zm4"), document("application/zip", "UEs")), (Some("txt"), None));
        assert_eq!((image_at("s3://b/a.JPG"), image_at("s3://b.png/a")), (Some("jpeg"), None));
        assert_eq!((document_at("s3://b/a.docx"), document_at("s3://b/a.exe")), (Some("docx"), None));
    }

    #[test]
    fn names_have_only_what_is_allowed_in_them() {
        assert_eq!(name("Q3_report (final).pdf"), "Q3 report (final) pdf");
        assert_eq!(name("  ..  "), "document");
        assert_eq!(name(&"ü".repeat(500)), "document");
        assert_eq!(name(&"x".repeat(500)).len(), 180);
    }
}
