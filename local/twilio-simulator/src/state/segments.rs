//! Message segments, for `num_segments`. Independent of the code that the simulator tests.
//!
//! <https://www.twilio.com/docs/glossary/what-sms-character-limit>

/// The GSM 03.38 default alphabet without the escape character.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
                     ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// The extension table. Each character takes two septets: the escape and the character.
const EXTENDED: &str = "\u{c}^{}\\[~]|€";

/// Returns the number of segments of `body`; 1 for an empty body.
pub(crate) fn count(body: &str) -> u32 {
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

/// Fills one segment after the other. A character of two units is never split across two segments.
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
    fn segments_are_counted_at_the_limits() {
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

    /// Cases made from the GSM 03.38 rules and cross-checked with Twilio's segment calculator.
    #[test]
    fn segment_counts_match_the_case_file() {
        let cases = include_str!("../../../../common/cases/segments.jsonl");
        for line in cases.lines() {
            let case: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(u64::from(count(case["body"].as_str().unwrap())), case["segments"], "{}", case["id"]);
        }
    }
}
