use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::domain::phone::InboundSender;

static PLAN: LazyLock<NumberingPlan> = LazyLock::new(|| NumberingPlan::load(Region::US).unwrap());

/// An example number of every country.
static EXAMPLES: LazyLock<Vec<PhoneNumber>> = LazyLock::new(|| {
    let regions = PLAN.util.get_supported_regions();
    regions.filter_map(|region| PLAN.util.get_example_number(region).ok()).collect()
});

fn sent_to(spelling: &str) -> Result<String, PhoneError> {
    PLAN.recipient(spelling).map(|recipient| recipient.e164().as_str().to_owned())
}

#[test]
fn every_us_spelling_is_sent_to_one_number() {
    for spelling in [
        "+12035550123",
        "2035550123",
        "12035550123",
        "(203) 555-0123",
        "203.555.0123",
        "1-203-555-0123",
        "+1 (203) 555-0123",
        " 203 555 0123\n",
        "tel:+1-203-555-0123",
        "011 1 203 555 0123",
        "２０３５５５０１２３",
        "＋１２０３５５５０１２３",
        "\u{200e}203-555-0123",
        "📞 203-555-0123",
    ] {
        assert_eq!(sent_to(spelling).as_deref(), Ok("+12035550123"), "{spelling:?}");
    }
}

#[test]
fn foreign_numbers_keep_their_country() {
    // The first four became other, valid numbers with a library that strips a leading 1 after the plus.
    for (spelling, e164) in [
        ("+8613812345678", "+8613812345678"),
        ("+4915123456789", "+4915123456789"),
        ("+5511912345678", "+5511912345678"),
        ("+5491123456789", "+5491123456789"),
        ("+44 (0)7911 123456", "+447911123456"),
        ("011 44 7911 123456", "+447911123456"),
        ("tel:+55-11-91234-5678", "+5511912345678"),
        ("+39 06 1234 5678", "+390612345678"),
    ] {
        assert_eq!(sent_to(spelling).as_deref(), Ok(e164), "{spelling:?}");
    }
}

#[test]
fn the_magic_numbers_of_test_credentials_can_be_sent_to() {
    for last in 1..=9 {
        let number = format!("+1500555000{last}");
        assert_eq!(sent_to(&number).as_deref(), Ok(number.as_str()));
    }
}

#[test]
fn a_refusal_says_why() {
    for (spelling, reason) in [
        ("", PhoneError::Empty),
        (" \t\n", PhoneError::Empty),
        ("TWILIO", PhoneError::NotANumber),
        ("+1\u{0}2035550123", PhoneError::NotANumber),
        ("40404", PhoneError::ShortCode),
        ("7535", PhoneError::ShortCode),
        ("+9991234567", PhoneError::UnknownCountryCode),
        ("555-0123", PhoneError::NoAreaCode),
        ("+683 12345", PhoneError::WrongLength),
        ("203-555-01", PhoneError::TooFewDigits),
        ("+1 203 555", PhoneError::TooFewDigits),
        ("+1 203 555 01234", PhoneError::TooManyDigits),
        ("+1 203 555 0123 4567 8901", PhoneError::TooManyDigits),
        ("+1 003 555 0123", PhoneError::NotInPlan),
        ("1234567890", PhoneError::NotInPlan),
        ("203-555-0123 x12", PhoneError::Extension),
        ("+12035550123;ext=5", PhoneError::Extension),
    ] {
        assert_eq!(sent_to(spelling), Err(reason), "{spelling:?}");
    }
}

#[test]
fn text_is_read_up_to_250_characters() {
    let padded = |length: usize| format!("{}2035550123", "(".repeat(length - 10));
    assert_eq!(sent_to(&padded(250)).as_deref(), Ok("+12035550123"));
    assert_eq!(sent_to(&padded(251)), Err(PhoneError::TooLong));
    assert_eq!(PLAN.canonical(&padded(251)), padded(251));
}

#[test]
fn a_longer_number_than_e164_allows_is_refused() {
    // Germany's plan has no upper limit of its own; Twilio takes 15 digits.
    assert_eq!(sent_to("+4929030663810176"), Err(PhoneError::TooManyDigits));
}

#[test]
fn the_original_spelling_is_kept() {
    let recipient = PLAN.recipient(" (203) 555-0123").unwrap();
    assert_eq!(recipient.original(), " (203) 555-0123");
    assert_eq!(format!("{recipient:?}"), "Recipient(…0123)");
}

#[test]
fn characters_that_cannot_be_seen_do_not_matter() {
    for character in
        "\u{ad}\u{34f}\u{61c}\u{200b}\u{200d}\u{200e}\u{202a}\u{202f}\u{2060}\u{2068}\u{2069}\u{3164}\u{fe0d}\u{fe0f}\
         \u{feff}\u{ffa0}\u{e0020}\t\n\u{85}\u{a0}\u{1680}\u{2003}\u{2028}\u{205f}\u{2800}\u{3000}\u{2010}\
         \u{2012}\u{2212}\u{fe58}\u{fe63}"
            .chars()
    {
        for spelling in [
            format!("+1{character}202{character}555{character}0123"),
            format!("{character}+12025550123{character}"),
            format!("({character}202){character}555-0123"),
        ] {
            assert_eq!(sent_to(&spelling).as_deref(), Ok("+12025550123"), "{spelling:?}");
            assert_eq!(PLAN.canonical(&spelling), "+12025550123", "{spelling:?}");
        }
    }
    assert_eq!(sent_to("\u{200e}\u{feff}\u{2800}"), Err(PhoneError::Empty));
    assert_eq!(sent_to("40\u{200e}404"), Err(PhoneError::ShortCode));
    assert_eq!(PLAN.canonical("40\u{200e}404"), "40404");
    assert_eq!(PLAN.lookup_variants("40\u{200e}404"), ["40\u{200e}404", "40404"]);
}

#[test]
fn an_area_code_that_nanpa_lists_can_be_sent_to() {
    let missing_in_libphonenumber = "624 621 861 436 924 679 837 357 457 729 565 471 483 465 761";
    for code in missing_in_libphonenumber.split(' ') {
        let number = format!("+1{code}5550144");
        assert_eq!(sent_to(&number).as_deref(), Ok(number.as_str()));
        assert_eq!(sent_to(&format!("({code}) 555-0144")).as_deref(), Ok(number.as_str()));
        assert_eq!(PLAN.canonical(&format!("{code}-555-0144")), number);
    }
    // 687 is not assigned, 999 never will be.
    assert_eq!(sent_to("+16875550144"), Err(PhoneError::NotInPlan));
    assert_eq!(sent_to("+19995550144"), Err(PhoneError::NotInPlan));
    assert_eq!(sent_to("+16241550144"), Err(PhoneError::NotInPlan));
    assert_eq!(sent_to("+1624555014"), Err(PhoneError::TooFewDigits));
    assert_eq!(sent_to("+16245550144 x7"), Err(PhoneError::Extension));
}

#[test]
fn a_listed_number_is_the_one_that_the_library_reads() {
    for area_code in nanp::area_codes().map(|area_code| area_code.code) {
        for exchange in ["200", "211", "555", "800", "999"] {
            let spelling = format!("+1{area_code}{exchange}0123");
            let Some(listed) = listed(&spelling) else { continue };
            let parsed = PLAN.parse(&spelling).unwrap();
            assert!(PLAN.is_complete(&parsed), "{spelling}");
            assert_eq!(PLAN.format(&parsed), Some(listed), "{spelling}");
        }
    }
    assert!(listed("+12035550123").is_some());
    for other in
        ["2035550123", "+1 2035550123", "+12035550123x1", "+442035550123", "+18765550123", "+10035550123"]
    {
        assert_eq!(listed(other), None, "{other}");
    }
}

#[test]
fn a_number_that_its_plan_lacks_is_read_for_whoever_has_written_to_us() {
    let unlisted = |spelling: &str| {
        let recipient = PLAN.unlisted_recipient(spelling, PLAN.recipient(spelling).unwrap_err())?;
        Some(String::from(recipient.into_parts().0))
    };
    for (spelling, expected) in [
        ("(687) 555-0144", Some("+16875550144")),
        ("+1 687\u{200e}555 0144", Some("+16875550144")),
        ("+99912345678", Some("+99912345678")),
        // Mexico's old spelling is kept as the new one.
        ("+5215512345678", Some("+525512345678")),
        ("40404", None),
        ("TWILIO", None),
        ("555-0123", None),
        ("203-555-0123 x12", None),
        ("", None),
    ] {
        assert_eq!(unlisted(spelling).as_deref(), expected, "{spelling:?}");
    }
}

#[test]
fn lookups_forgive_what_sending_does_not() {
    for (spelling, canonical) in [
        ("203-555-0123 x12", "+12035550123"),
        ("+1 999 555 0123", "+19995550123"),
        (" 5511912345678", "+5511912345678"),
        ("44 7911 123456", "+447911123456"),
        ("00 1 (203) 555-0123", "+12035550123"),
        ("0044 7911 123456", "+447911123456"),
        // What form encoding makes of spaces.
        ("+1+203+555+0123", "+12035550123"),
        ("(203)+555-0123", "+12035550123"),
        ("203\u{2009}555\u{2009}0123", "+12035550123"),
        ("203_555_0123", "+12035550123"),
        ("tel:555-0123;phone-context=+1203", "+12035550123"),
        // How Mexico's mobile numbers were written until 2019.
        ("+5215512345678", "+525512345678"),
        ("+52 1 55 1234 5678", "+525512345678"),
        (" 52 1 55 1234 5678", "+525512345678"),
        ("0052 1 55 1234 5678", "+525512345678"),
        ("+12345", "+12345"),
        ("40404", "40404"),
        ("555-0123", "555-0123"),
        ("TWILIO", "TWILIO"),
        ("", ""),
    ] {
        assert_eq!(PLAN.canonical(spelling), canonical, "{spelling:?}");
    }
}

#[test]
fn lookup_variants_come_in_the_order_of_the_specification() {
    assert_eq!(
        PLAN.lookup_variants("(203) 555-0123"),
        ["(203) 555-0123", "+12035550123", "2035550123", "12035550123"]
    );
    assert_eq!(PLAN.lookup_variants("+447911123456"), ["+447911123456", "7911123456", "447911123456"]);
    assert_eq!(PLAN.lookup_variants("40404"), ["40404"]);
}

#[test]
fn the_default_region_reads_numbers_without_a_country_code() {
    let plan = NumberingPlan::load("gb".parse().unwrap()).unwrap();
    assert_eq!(plan.recipient("07911 123456").unwrap().e164().as_str(), "+447911123456");
    // The same digits are another number there.
    assert_eq!(plan.recipient("203-555-0123").unwrap().e164().as_str(), "+442035550123");
}

#[test]
fn the_country_of_a_number_is_that_of_its_area_code_or_of_its_country_code() {
    for (number, country) in [
        ("+12035550123", Some("US")),
        ("+12045550123", Some("CA")),
        ("+17875550123", Some("PR")),
        ("+18095550123", Some("DO")),
        // An area code in service that the library lacks, one that is not assigned, and a toll-free number.
        ("+16245550144", Some("US")),
        ("+16875550144", Some("US")),
        ("+18005550123", Some("US")),
        ("+447400123456", Some("GB")),
        ("+447911123456", Some("GG")),
        ("+5511961234567", Some("BR")),
        ("+77012345678", Some("KZ")),
        ("+999123456789", None),
    ] {
        let found = PLAN.country(&number.parse().unwrap()).map(|country| country.to_string());
        assert_eq!(found.as_deref(), country, "{number}");
    }
}

#[test]
fn a_region_without_a_plan_is_refused() {
    assert!("USA".parse::<Region>().is_err());
    assert!("".parse::<Region>().is_err());
    for region in ["ZZ", "001"] {
        let loaded = NumberingPlan::load(region.parse().unwrap());
        assert_eq!(loaded.unwrap_err().to_string(), format!("{region} has no numbering plan"));
    }
}

#[test]
fn country_codes_are_those_of_the_numbering_plans() {
    for code in PLAN.util.get_supported_calling_codes() {
        let number: E164 = format!("+{code}2345678").parse().unwrap();
        assert_eq!(number.country_code(), code.to_string());
    }
}

fn example() -> impl Strategy<Value = PhoneNumber> {
    any::<Index>().prop_map(|index| index.get(&EXAMPLES).clone())
}

proptest! {
    #[test]
    fn formatting_and_parsing_is_the_identity(number in example()) {
        let e164 = PLAN.format(&number).unwrap();
        for form in [PhoneNumberFormat::E164, PhoneNumberFormat::International, PhoneNumberFormat::RFC3966] {
            let spelling = PLAN.util.format(&number, form).into_owned();
            prop_assert_eq!(sent_to(&spelling), Ok(e164.as_str().to_owned()), "{}", spelling);
        }
        prop_assert_eq!(e164.country_code(), number.country_code.to_string());
    }

    #[test]
    fn any_spelling_of_one_number_is_one_conversation(
        number in example(),
        separator in select(vec![" ", "-", ".", "/", "_", "+", "\u{a0}", "\u{2009}", "\u{2011}", ""]),
        prefix in select(vec!["+", "＋", "011", "011 ", "00", "00 ", "tel:+", " +", ""]),
        suffix in select(vec!["", " ", "\n", " x7", ";ext=12"]),
    ) {
        let e164 = PLAN.format(&number).unwrap();
        // Ten digits without a plus sign are a number of the default region, wherever they come from.
        prop_assume!(!prefix.is_empty() || e164.digits().len() > 11 && suffix.trim().is_empty());
        let separator = if prefix.is_empty() && !" -.".contains(separator) { " " } else { separator };
        let spelling =
            format!("{prefix}{}{separator}{}{suffix}", e164.country_code(), e164.national());
        prop_assert_eq!(PLAN.canonical(&spelling), e164.as_str(), "{:?}", spelling);
        let sender = InboundSender::from_twilio(e164.as_str());
        prop_assert_eq!(sender.canonical(), PLAN.canonical(e164.as_str()));
        let variants = PLAN.lookup_variants(&spelling);
        prop_assert_eq!(&variants[0], &spelling);
        prop_assert!(variants.iter().any(|variant| variant == e164.as_str()));
    }

    #[test]
    fn any_us_spelling_is_one_conversation(
        area in "[2-9][0-8][0-9]",
        exchange in "[2-9][0-9]{2}",
        line in "[0-9]{4}",
        separator in select(vec![" ", "-", ".", ") ", "\u{2013}", ""]),
        prefix in select(vec!["", "1", "1 ", "+1", "+1 ", "1-", "(", "+1(", "011 1 "]),
    ) {
        let spelling = format!("{prefix}{area}{separator}{exchange}{separator}{line}");
        let e164 = format!("+1{area}{exchange}{line}");
        prop_assert_eq!(PLAN.canonical(&spelling), e164.clone(), "{:?}", spelling);
        if let Ok(recipient) = PLAN.recipient(&spelling) {
            prop_assert_eq!(recipient.e164().as_str(), e164);
        }
    }

    #[test]
    fn no_text_breaks_the_reader_and_what_it_reads_reads_back(text in "\\PC{0,40}|[+0-9 ()x.,;#-]{0,30}") {
        if let Ok(recipient) = PLAN.recipient(&text) {
            let e164 = recipient.e164().as_str();
            prop_assert_eq!(sent_to(e164), Ok(e164.to_owned()));
            prop_assert_eq!(PLAN.canonical(&text), e164);
        }
        let canonical = PLAN.canonical(&text);
        prop_assert_eq!(PLAN.canonical(&canonical), canonical);
    }
}
