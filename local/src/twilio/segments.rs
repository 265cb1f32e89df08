//! How many segments a text takes, for `num_segments`. Written apart from the service's own count.
//!
//! <https://www.twilio.com/docs/glossary/what-sms-character-limit>

/// The GSM 03.38 default alphabet, without its escape.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
                     ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// The extension table: an escape and one more septet each.
const EXTENDED: &str = "\u{c}^{}\\[~]|€";

/// The number of segments of `body`; a message without text counts as one.
pub(super) fn count(body: &str) -> u32 {
    let gsm: Option<Vec<u32>> = body.chars().map(septets).collect();
    match gsm {
        Some(costs) => split(&costs, 160, 153),
        None => {
            let costs: Vec<u32> = body.chars().map(|c| c.len_utf16() as u32).collect();
            split(&costs, 70, 67)
        }
    }
}

fn septets(c: char) -> Option<u32> {
    if BASIC.contains(c) { Some(1) } else { EXTENDED.contains(c).then_some(2) }
}

/// Fills segments greedily; a character of two units never straddles two segments.
fn split(costs: &[u32], single: u32, part: u32) -> u32 {
    if costs.iter().sum::<u32>() <= single {
        return 1;
    }
    let (mut segments, mut used) = (1, 0);
    for cost in costs {
        if used + cost > part {
            segments += 1;
            used = 0;
        }
        used += cost;
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_counted_at_their_boundaries() {
        let table = [
            (String::new(), 1),
            ("a".repeat(160), 1),
            ("a".repeat(161), 2),
            ("a".repeat(306), 2),
            ("a".repeat(307), 3),
            ("€".repeat(80), 1),
            (format!("{}€{}", "a".repeat(152), "b".repeat(152)), 3),
            ("ñ".repeat(160), 1),
            ("á".repeat(70), 1),
            ("á".repeat(71), 2),
            ("😀".repeat(35), 1),
            ("😀".repeat(36), 2),
            ("😀".repeat(67), 3),
        ];
        for (body, expected) in table {
            assert_eq!(count(&body), expected, "{body}");
        }
    }

    /// Cases made with the GSM 03.38 rules and cross-checked with Twilio's own calculator.
    #[test]
    fn the_case_file_agrees() {
        let cases = include_str!("../../../common/cases/segments.jsonl");
        for line in cases.lines() {
            let case: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(u64::from(count(case["body"].as_str().unwrap())), case["segments"], "{}", case["id"]);
        }
    }
}
