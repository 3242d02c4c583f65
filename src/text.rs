//! Text that one player writes and others see: names and chat, validated once, at the edge, into types.
//!
//! Owns: which characters pass, and how long a text may be. Must not know: who wrote it, or where it is shown.
//!
//! Invariants of every value of these types: it is in Unicode's normal form C; it neither begins nor ends with white
//! space, and the only white space within is U+0020; it holds no control character, no line break, nothing that
//! changes the direction of the text around it, nothing invisible, nothing private or unassigned; it does not begin
//! with a combining mark, and at most [`MAX_MARKS`] of them follow each other. So it can go to a terminal or a log as
//! it is. It may hold `<`, `&` and quotes: a page shows it as text (`textContent`), never as markup.

use std::fmt;
use std::sync::Arc;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use unicode_segmentation::UnicodeSegmentation;

/// What is wrong with a text. The fault is always the writer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TextFault {
    /// Nothing is left once the white space at the ends is gone.
    #[error("the text is empty")]
    Empty,
    /// More graphemes or more bytes than the kind of text allows.
    #[error("the text is too long")]
    TooLong,
    /// A control character, a line break or a paragraph break.
    #[error("the text holds a control character or a line break")]
    Control,
    /// A character that turns the direction of the text around it.
    #[error("the text holds a character that changes its direction")]
    Direction,
    /// A character of no width, or one that only looks like empty space.
    #[error("the text holds an invisible character")]
    Invisible,
    /// A private, unassigned or replacement character: nobody can say what it would look like.
    #[error("the text holds a character that is not assigned")]
    Unassigned,
    /// A combining mark without a letter before it, or too many on one letter.
    #[error("the text holds too many combining marks in a row, or begins with one")]
    Marks,
}

impl TextFault {
    /// A stable name in ASCII, for the answer on the wire and for metrics.
    pub fn slug(self) -> &'static str {
        match self {
            Self::Empty => "text-empty",
            Self::TooLong => "text-too-long",
            Self::Control => "text-control",
            Self::Direction => "text-direction",
            Self::Invisible => "text-invisible",
            Self::Unassigned => "text-unassigned",
            Self::Marks => "text-marks",
        }
    }
}

macro_rules! clean_text {
    ($(#[$doc:meta])* $name:ident: $graphemes:literal graphemes, $bytes:literal bytes) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The most graphemes (what a reader takes for one character).
            pub const MAX_GRAPHEMES: usize = $graphemes;

            /// The most bytes of UTF-8 after normalisation.
            pub const MAX_BYTES: usize = $bytes;

            /// Normalises a text and accepts it if it keeps the invariants of this module.
            ///
            /// Every kind of space becomes U+0020, and the emoji variation selector (U+FE0F), which keyboards add of
            /// their own accord, is dropped; anything else that does not pass is refused, not repaired.
            ///
            /// # Errors
            /// [`TextFault`] says what is wrong.
            pub fn new(raw: &str) -> Result<Self, TextFault> {
                clean(raw, Self::MAX_GRAPHEMES, Self::MAX_BYTES).map(|text| Self(text.into()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

clean_text! {
    /// The name under which others see a player: 1 to 32 graphemes, at most 128 bytes. Not unique; the id is.
    DisplayName: 32 graphemes, 128 bytes
}

clean_text! {
    /// The name of a lobby in the list: 1 to 32 graphemes, at most 128 bytes. Not unique; the id is.
    LobbyName: 32 graphemes, 128 bytes
}

clean_text! {
    /// One line of chat: 1 to 256 graphemes, at most 1 KiB.
    ChatText: 256 graphemes, 1_024 bytes
}

impl DisplayName {
    /// The name of a player who has none that can be shown.
    pub fn nameless() -> Self {
        Self("Player".into())
    }
}

impl LobbyName {
    /// The name of a lobby that quick play made.
    pub fn quick_play() -> Self {
        Self("Quick play".into())
    }
}

/// Normalises and checks; see the module's invariants.
fn clean(raw: &str, max_graphemes: usize, max_bytes: usize) -> Result<String, TextFault> {
    // Bounds the work below. Normalisation shortens a text to a third at the most, so what is refused here would be
    // refused later, unless nearly all of it were white space at its ends.
    if raw.len() > max_bytes.saturating_mul(4) {
        return Err(TextFault::TooLong);
    }
    // Plain English is in normal form, and each of its characters is one byte and one grapheme.
    if raw.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return match raw.trim() {
            "" => Err(TextFault::Empty),
            text if text.len() > max_bytes.min(max_graphemes) => Err(TextFault::TooLong),
            text => Ok(text.to_owned()),
        };
    }
    clean_any(raw, max_graphemes, max_bytes)
}

/// As [`clean`], for text in any script.
fn clean_any(raw: &str, max_graphemes: usize, max_bytes: usize) -> Result<String, TextFault> {
    if let Some(fault) = raw.chars().find_map(fault_of) {
        return Err(fault);
    }
    let spaced = raw.chars().filter(|c| *c != EMOJI_STYLE).map(|c| if c.is_whitespace() { ' ' } else { c });
    let normal: String = spaced.nfc().collect();
    let text = normal.trim();
    if text.is_empty() {
        return Err(TextFault::Empty);
    }
    if text.len() > max_bytes || text.graphemes(true).nth(max_graphemes).is_some() {
        return Err(TextFault::TooLong);
    }
    if text.starts_with(is_combining_mark) || longest_run_of_marks(text) > MAX_MARKS {
        return Err(TextFault::Marks);
    }
    Ok(text.to_owned())
}

/// What is wrong with one character, if anything.
fn fault_of(c: char) -> Option<TextFault> {
    match c {
        EMOJI_STYLE => None,
        // Line and paragraph separator: a line break to every browser and to some log readers.
        '\u{2028}' | '\u{2029}' => Some(TextFault::Control),
        _ if c.is_control() => Some(TextFault::Control),
        _ if within(c, DIRECTION) => Some(TextFault::Direction),
        _ if within(c, INVISIBLE) => Some(TextFault::Invisible),
        _ if c.is_whitespace() => None,
        char::REPLACEMENT_CHARACTER => Some(TextFault::Unassigned),
        _ if !has_a_look(c) => Some(TextFault::Unassigned),
        _ => None,
    }
}

/// Whether a character is assigned and printable. The standard library knows the assigned ones: it escapes all others
/// as `\u{…}` for debugging, and with them what extends a grapheme, which is let through here.
fn has_a_look(c: char) -> bool {
    let escaped = c.escape_debug().len() > "\\'".len();
    !escaped || is_combining_mark(c) || matches!(c, HALF_WIDTH_VOICED | HALF_WIDTH_SEMI_VOICED)
}

fn within(c: char, ranges: &[(char, char)]) -> bool {
    ranges.iter().any(|(first, last)| (*first..=*last).contains(&c))
}

fn longest_run_of_marks(text: &str) -> usize {
    let mut run = 0;
    let mut longest = 0;
    for c in text.chars() {
        run = if is_combining_mark(c) { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest
}

/// The most combining marks in a row. Living scripts need no more; text that climbs over its neighbours does.
pub const MAX_MARKS: usize = 4;

/// Asks for the coloured form of the character before it.
const EMOJI_STYLE: char = '\u{fe0f}';
/// Japanese sound marks that have a width of their own, and yet extend a grapheme.
const HALF_WIDTH_VOICED: char = '\u{ff9e}';
const HALF_WIDTH_SEMI_VOICED: char = '\u{ff9f}';

/// Bidirectional marks, embeddings, overrides and isolates: Unicode's `Bidi_Control`.
const DIRECTION: &[(char, char)] =
    &[('\u{61c}', '\u{61c}'), ('\u{200e}', '\u{200f}'), ('\u{202a}', '\u{202e}'), ('\u{2066}', '\u{2069}')];

/// Unicode's `Default_Ignorable_Code_Point`, and what else leaves no ink: the Braille blank, annotation and object
/// anchors, a musical symbol without a head.
const INVISIBLE: &[(char, char)] = &[
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200d}'),
    ('\u{2060}', '\u{2065}'),
    ('\u{206a}', '\u{206f}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffc}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d159}', '\u{1d159}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn fault(raw: &str) -> Option<TextFault> {
        let fault = DisplayName::new(raw).err();
        assert_eq!(ChatText::new(raw).err(), fault, "chat and names have the same rules: {raw:?}");
        assert_eq!(LobbyName::new(raw).err(), fault, "lobbies and players have the same rules: {raw:?}");
        fault
    }

    #[test]
    fn names_of_the_whole_world_pass_as_they_are() {
        for name in [
            "Ada",
            "Ada Lovelace",
            "Zoë",
            "Nguyễn Thị Ánh",
            "Łukasz",
            "李小龙",
            "さくら",
            "ｶﾞﾝﾀﾞﾑ",
            "김연아",
            "Мария",
            "محمد",
            "שָׁלוֹם",
            "अभिषेक",
            "กำธร",
            "I <3 muster & \"you\"",
            "x_X_sniper_X_x",
            "🦀",
            "👍🏽",
            "🇺🇦",
        ] {
            assert_eq!(DisplayName::new(name).map(|n| n.to_string()), Ok(name.nfc().collect()), "{name:?}");
        }
    }

    #[test]
    fn terminal_escapes_and_line_breaks_are_refused() {
        for raw in [
            "\u{1b}[2J",
            "\u{1b}]0;owned\u{7}",
            "\u{9b}31mred",
            "a\0b",
            "a\u{8}b",
            "a\tb",
            "a\nb",
            "a\r\nb",
            "ada\n",
            "\nada",
            "a\u{b}b",
            "a\u{c}b",
            "a\u{7f}b",
            "a\u{85}b",
            "a\u{2028}b",
            "a\u{2029}b",
            "level=error msg=forged\n{\"level\":\"info\"}",
        ] {
            assert_eq!(fault(raw), Some(TextFault::Control), "{raw:?}");
        }
    }

    #[test]
    fn characters_that_turn_the_direction_are_refused() {
        for c in
            "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}".chars()
        {
            for raw in [format!("{c}ada"), format!("a{c}da"), format!("ada{c}")] {
                assert_eq!(fault(&raw), Some(TextFault::Direction), "{raw:?}");
            }
        }
    }

    #[test]
    fn invisible_characters_are_refused() {
        for c in "\u{ad}\u{34f}\u{115f}\u{1160}\u{17b4}\u{180e}\u{200b}\u{200c}\u{200d}\u{2060}\u{2061}\u{2064}\u{206a}\
                  \u{2800}\u{3164}\u{fe00}\u{fe0e}\u{feff}\u{ffa0}\u{fff9}\u{fffb}\u{fffc}\u{1d159}\u{1d173}\u{e0001}\
                  \u{e0041}\u{e007f}\u{e0100}\u{e01ef}"
            .chars()
        {
            for raw in [format!("{c}ada"), format!("a{c}da"), format!("ada{c}"), c.to_string()] {
                assert_eq!(fault(&raw), Some(TextFault::Invisible), "{raw:?}");
            }
        }
        assert_eq!(fault("👩\u{200d}🚀"), Some(TextFault::Invisible), "a joiner stays a joiner within an emoji");
    }

    #[test]
    fn private_and_unassigned_characters_are_refused() {
        for c in "\u{e000}\u{f8ff}\u{f0000}\u{10fffd}\u{378}\u{530}\u{1c7f0}\u{fdd0}\u{fffe}\u{ffff}\u{1ffff}\u{50000}\
                  \u{dfffd}\u{fffd}\u{10ffff}"
            .chars()
        {
            assert_eq!(fault(&format!("a{c}b")), Some(TextFault::Unassigned), "{c:?}");
        }
    }

    #[test]
    fn letters_that_climb_over_their_neighbours_are_refused() {
        let climbing = |marks: usize| format!("a{}", "\u{30d}".repeat(marks));
        assert_eq!(fault(&climbing(MAX_MARKS)), None);
        assert_eq!(fault(&climbing(MAX_MARKS + 1)), Some(TextFault::Marks));
        assert_eq!(fault("Z\u{351}\u{36b}\u{343}\u{36a}\u{302}a\u{328}lgo"), Some(TextFault::Marks));
        assert_eq!(fault("\u{301}ada"), Some(TextFault::Marks), "it would sit on whatever is shown before the name");
        assert_eq!(fault(" \u{20e3}"), Some(TextFault::Marks));
        assert_eq!(DisplayName::new(&climbing(1_000)), Err(TextFault::TooLong));
    }

    #[test]
    fn markup_is_text_like_any_other_and_comes_through_unchanged() {
        for raw in [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "\"><svg/onload=alert(1)>",
            "javascript:alert(1)",
            "'; DROP TABLE players; --",
            "${7*7}{{7*7}}<%= 7*7 %>",
            "%s%n&lt;b&gt;\\u003cb\\u003e",
        ] {
            assert_eq!(DisplayName::new(raw).unwrap().as_str(), raw);
        }
    }

    #[test]
    fn a_name_has_at_most_32_graphemes_and_128_bytes() {
        for letter in ["x", "é", "李"] {
            assert_eq!(DisplayName::new(&letter.repeat(32)).unwrap().as_str(), letter.repeat(32));
            assert_eq!(DisplayName::new(&letter.repeat(33)), Err(TextFault::TooLong));
        }
        assert!(DisplayName::new(&"👍🏽".repeat(16)).is_ok(), "128 bytes");
        assert_eq!(DisplayName::new(&"👍🏽".repeat(17)), Err(TextFault::TooLong), "17 graphemes, but 136 bytes");
        assert_eq!(DisplayName::new(&" ".repeat(1_000_000)), Err(TextFault::TooLong));
    }

    #[test]
    fn a_line_of_chat_has_at_most_256_graphemes_and_a_kibibyte() {
        assert!(ChatText::new(&"x".repeat(256)).is_ok());
        assert_eq!(ChatText::new(&"x".repeat(257)), Err(TextFault::TooLong));
        assert!(ChatText::new(&"🦀".repeat(256)).is_ok(), "1,024 bytes");
        assert_eq!(ChatText::new(&"👍🏽".repeat(129)), Err(TextFault::TooLong), "129 graphemes, but 1,032 bytes");
    }

    #[test]
    fn nothing_but_white_space_is_empty() {
        for raw in ["", " ", "   ", "\u{a0}", "\u{3000}\u{2003}", "\u{fe0f}"] {
            assert_eq!(fault(raw), Some(TextFault::Empty), "{raw:?}");
        }
    }

    #[test]
    fn two_ways_to_write_one_name_become_the_same() {
        let same = |a: &str, b: &str| assert_eq!(DisplayName::new(a).unwrap(), DisplayName::new(b).unwrap());
        same("Zoe\u{308}", "Zoë");
        same("  Ada ", "Ada");
        same("Ada\u{3000}L", "Ada L");
        same("Ada\u{a0}L", "Ada L");
        same("I ❤\u{fe0f} it", "I ❤ it");
        same("\u{212b}", "Å");
    }

    #[test]
    fn every_fault_has_its_own_slug() {
        use TextFault::{Control, Direction, Empty, Invisible, Marks, TooLong, Unassigned};
        let slugs = [Empty, TooLong, Control, Direction, Invisible, Unassigned, Marks].map(TextFault::slug);
        assert!(slugs.iter().all(|slug| slugs.iter().filter(|other| *other == slug).count() == 1 && slug.is_ascii()));
    }

    proptest! {
        #[test]
        fn what_is_accepted_keeps_every_invariant_and_is_accepted_again(raw in any::<String>()) {
            if let Ok(text) = ChatText::new(&raw) {
                let s = text.as_str();
                prop_assert!(!s.is_empty() && s.len() <= ChatText::MAX_BYTES && s.trim() == s);
                prop_assert!(s.graphemes(true).count() <= ChatText::MAX_GRAPHEMES);
                prop_assert!(unicode_normalization::is_nfc(s));
                prop_assert!(s.chars().all(|c| !c.is_control() && (c == ' ' || !c.is_whitespace())));
                prop_assert_eq!(ChatText::new(s), Ok(text.clone()));
            }
        }

        #[test]
        fn the_short_way_of_plain_english_says_what_the_long_one_does(raw in "[ -~]{0,80}") {
            let short = clean(&raw, DisplayName::MAX_GRAPHEMES, DisplayName::MAX_BYTES);
            prop_assert_eq!(short, clean_any(&raw, DisplayName::MAX_GRAPHEMES, DisplayName::MAX_BYTES));
        }

        #[test]
        fn a_mix_of_letters_marks_and_attacks_never_slips_one_through(
            raw in proptest::collection::vec(
                proptest::sample::select(vec![
                    'a', 'é', '李', '🦀', ' ', '\u{a0}', '\u{301}', '\u{30d}', '\u{3099}', '\u{1100}', '\u{1161}',
                    '\u{fe0f}', '\u{344}', '\u{fb2c}', '\u{2000}', '\u{200d}', '\u{202e}', '\u{1b}', '\n', '\u{e000}',
                ]),
                0..12,
            )
        ) {
            let raw: String = raw.into_iter().collect();
            if let Ok(name) = DisplayName::new(&raw) {
                let s = name.as_str();
                let hostile = ['\u{200d}', '\u{202e}', '\u{1b}', '\n', '\u{e000}', '\u{fe0f}', '\u{a0}'];
                prop_assert!(!s.contains(hostile));
                prop_assert!(!s.starts_with(is_combining_mark) && longest_run_of_marks(s) <= MAX_MARKS);
                prop_assert_eq!(DisplayName::new(s), Ok(name.clone()));
            }
        }
    }
}
