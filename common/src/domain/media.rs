//! Files of inbound messages: their status, and which types are stored.

use super::named::named_enum;

named_enum! {
    /// The status of a file of an inbound message.
    pub enum MediaStatus: "the status of a file" {
        /// It is not copied from Twilio yet.
        Pending = "pending",
        /// It is in object storage.
        Stored = "stored",
        /// It could not be copied, and is not tried again.
        Failed = "failed",
    }
}

/// A type of files that are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileType {
    /// The media type.
    pub content_type: &'static str,
    /// The extension of file names, without a dot.
    pub extension: &'static str,
}

/// The types that are stored, each with the names that `infer` has for it.
///
/// These are the types that Twilio documents for MMS
/// (<https://www.twilio.com/docs/messaging/guides/accepted-mime-types>, 2026-11) and that can be recognized by their
/// bytes, plus those that phones send anyway. None of them is run by a browser that gets it as this type.
const TYPES: [(&[&str], FileType); 21] = [
    (&["image/jpeg"], file_type("image/jpeg", "jpg")),
    (&["image/png"], file_type("image/png", "png")),
    (&["image/gif"], file_type("image/gif", "gif")),
    (&["image/webp"], file_type("image/webp", "webp")),
    (&["image/heif"], file_type("image/heif", "heif")),
    (&["image/avif"], file_type("image/avif", "avif")),
    (&["image/bmp"], file_type("image/bmp", "bmp")),
    (&["image/tiff"], file_type("image/tiff", "tiff")),
    (&["video/mp4", "video/x-m4v"], file_type("video/mp4", "mp4")),
    (&["video/quicktime"], file_type("video/quicktime", "mov")),
    (&["video/mpeg"], file_type("video/mpeg", "mpeg")),
    (&["video/webm"], file_type("video/webm", "webm")),
    (&["video/3gpp"], file_type("video/3gpp", "3gp")),
    (&["audio/mpeg"], file_type("audio/mpeg", "mp3")),
    (&["audio/m4a"], file_type("audio/mp4", "m4a")),
    (&["audio/ogg", "audio/opus"], file_type("audio/ogg", "ogg")),
    (&["audio/amr"], file_type("audio/amr", "amr")),
    (&["audio/aac"], file_type("audio/aac", "aac")),
    (&["audio/x-wav"], file_type("audio/wav", "wav")),
    (&["application/pdf"], file_type("application/pdf", "pdf")),
    (&["text/vcard"], file_type("text/vcard", "vcf")),
];

const fn file_type(content_type: &'static str, extension: &'static str) -> FileType {
    FileType { content_type, extension }
}

/// The bytes have no type that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("files of the type {0} are not stored")]
pub struct UnsupportedType(pub &'static str);

impl FileType {
    /// Returns the type of a file by its bytes. What the sender or Twilio declares does not matter: a page with scripts
    /// can be declared as an image.
    ///
    /// # Errors
    ///
    /// [`UnsupportedType`], with the type if it is known, such as `text/html`.
    pub fn detect(bytes: &[u8]) -> Result<Self, UnsupportedType> {
        let detected = signature(bytes).or_else(|| infer::get(bytes).map(|found| found.mime_type()));
        let detected = detected.ok_or(UnsupportedType("unknown"))?;
        let known = TYPES.iter().find(|(names, _)| names.contains(&detected));
        known.map(|(_, file_type)| *file_type).ok_or(UnsupportedType(detected))
    }

    /// Returns the type with the name that [`FileType::detect`] found for a stored file.
    #[must_use]
    pub fn of(content_type: &str) -> Option<Self> {
        let mut all = TYPES.iter().map(|(_, file_type)| *file_type);
        all.find(|file_type| file_type.content_type == content_type)
    }
}

/// Recognizes types that `infer` does not know.
fn signature(bytes: &[u8]) -> Option<&'static str> {
    if bytes.get(..11).is_some_and(|start| start.eq_ignore_ascii_case(b"BEGIN:VCARD")) {
        Some("text/vcard")
    } else if bytes.get(4..10) == Some(b"ftyp3g") {
        Some("video/3gpp")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detect(bytes: &[u8]) -> Result<&'static str, &'static str> {
        FileType::detect(bytes).map(|found| found.content_type).map_err(|error| error.0)
    }

    #[test]
    fn the_bytes_decide_the_type() {
        for (bytes, expected) in [
            (&b"\xff\xd8\xff\xe0\x00\x10JFIF"[..], "image/jpeg"),
            (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "image/png"),
            (b"GIF89a\x01\x00\x01\x00", "image/gif"),
            (b"RIFF\x24\x00\x00\x00WEBPVP8 ", "image/webp"),
            (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom", "video/mp4"),
            (b"\x00\x00\x00\x18ftyp3gp4\x00\x00\x00\x00", "video/3gpp"),
            (b"#!AMR\n\x04\x00\x00\x00\x00\x00\x00\x00", "audio/amr"),
            (b"%PDF-1.7\n", "application/pdf"),
            (b"BEGIN:VCARD\r\nVERSION:3.0\r\n", "text/vcard"),
            (b"begin:vcard\nversion:2.1\n", "text/vcard"),
        ] {
            assert_eq!(detect(bytes), Ok(expected), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn what_a_browser_would_run_is_refused_whatever_it_is_called() {
        for bytes in [
            &b"<!DOCTYPE html><script>alert(1)</script>"[..],
            b"<html><body onload=alert(1)>",
            b"  \n<script>alert(1)</script>",
            b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
            b"<?xml version=\"1.0\"?><svg/>",
            b"#!/bin/sh\nrm -rf /\n",
            b"MZ\x90\x00\x03\x00\x00\x00",
            b"PK\x03\x04\x14\x00",
            b"alert(document.cookie)",
            b"",
        ] {
            assert!(detect(bytes).is_err(), "{}", bytes.escape_ascii());
        }
        assert_eq!(detect(b"<!DOCTYPE html><p>"), Err("text/html"));
        assert_eq!(detect(b"hello"), Err("unknown"));
    }

    #[test]
    fn every_stored_type_is_found_by_its_name() {
        for (_, file_type) in TYPES {
            assert_eq!(FileType::of(file_type.content_type), Some(file_type));
        }
        assert_eq!(FileType::of("text/html"), None);
    }
}
