//! Normalizes spellings: copied numbers often contain invisible characters.

/// Removes invisible characters, and replaces every kind of space and dash by the ASCII one.
pub(super) fn plain(spelling: &str) -> String {
    spelling
        .chars()
        .filter(|character| !is_invisible(*character))
        .map(|character| match character {
            // The Braille blank is not a space in Unicode, but looks like one.
            '\u{2800}' => ' ',
            character if character.is_whitespace() => ' ',
            character if is_dash(character) => '-',
            character => character,
        })
        .collect()
}

/// Unicode's Default_Ignorable_Code_Point and general category Cf (version 16).
const fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{34f}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{890}'..='\u{891}'
            | '\u{8e2}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{110bd}'
            | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Unicode's property Dash (version 16).
const fn is_dash(character: char) -> bool {
    matches!(
        character,
        '-' | '\u{58a}'
            | '\u{5be}'
            | '\u{1400}'
            | '\u{1806}'
            | '\u{2010}'..='\u{2015}'
            | '\u{2053}'
            | '\u{207b}'
            | '\u{208b}'
            | '\u{2212}'
            | '\u{2e17}'
            | '\u{2e1a}'
            | '\u{2e3a}'..='\u{2e3b}'
            | '\u{2e40}'
            | '\u{2e5d}'
            | '\u{301c}'
            | '\u{3030}'
            | '\u{30a0}'
            | '\u{fe31}'..='\u{fe32}'
            | '\u{fe58}'
            | '\u{fe63}'
            | '\u{ff0d}'
            | '\u{10d6e}'
            | '\u{10ead}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn visible_characters_are_kept() {
        assert_eq!(plain("+1\u{200e}202\u{202f}555\u{2011}0123\u{fe0f}"), "+1202 555-0123");
        assert_eq!(plain("(203)\t555\u{2800}0123\u{3164}"), "(203) 555 0123");
        assert_eq!(plain("２０３ x12\0"), "２０３ x12\0");
    }

    proptest! {
        #[test]
        fn format_characters_are_left_out(character in "\\p{Cf}|\\p{Default_Ignorable_Code_Point}") {
            prop_assert_eq!(plain(&character), "", "{:?}", character);
        }

        #[test]
        fn spaces_and_dashes_are_plain(space in "\\p{White_Space}", dash in "\\p{Dash}") {
            prop_assert_eq!(plain(&space), " ", "{:?}", space);
            prop_assert_eq!(plain(&dash), "-", "{:?}", dash);
        }
    }
}
