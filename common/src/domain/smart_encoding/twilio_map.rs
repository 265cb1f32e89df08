// Twilio's Smart Encoding map: `SmartEncodingMap` of the npm package `sms-segments-calculator` 1.3.0 (published
// 2026-09-04, read 2026-11-27; <https://github.com/TwilioDevEd/message-segment-calculator>, MIT licence), sorted by
// character. 1.2.0 lacks U+200C, turns both angle quotation marks the other way, and makes U+2017 an apostrophe.
[
    ('\u{0}', ""), // <control>
    ('\u{3}', ""), // <control>
    ('\u{4}', ""), // <control>
    ('\u{9}', "       "), // <control>
    ('\u{10}', ""), // <control>
    ('\u{11}', ""), // <control>
    ('\u{12}', ""), // <control>
    ('\u{13}', ""), // <control>
    ('\u{14}', ""), // <control>
    ('\u{17}', ""), // <control>
    ('\u{19}', ""), // <control>
    ('\u{60}', "'"), // GRAVE ACCENT
    ('\u{80}', "  "), // <control>
    ('\u{8d}', "  "), // <control>
    ('\u{90}', "  "), // <control>
    ('\u{9b}', "  "), // <control>
    ('\u{9f}', "  "), // <control>
    ('\u{a0}', "  "), // NO-BREAK SPACE
    ('\u{ab}', "\""), // LEFT-POINTING DOUBLE ANGLE QUOTATION MARK
    ('\u{b4}', "'"), // ACUTE ACCENT
    ('\u{bb}', "\""), // RIGHT-POINTING DOUBLE ANGLE QUOTATION MARK
    ('\u{bc}', "1/4"), // VULGAR FRACTION ONE QUARTER
    ('\u{bd}', "1/2"), // VULGAR FRACTION ONE HALF
    ('\u{be}', "3/4"), // VULGAR FRACTION THREE QUARTERS
    ('\u{f7}', "/"), // DIVISION SIGN
    ('\u{1c3}', "!"), // LATIN LETTER RETROFLEX CLICK
    ('\u{262}', "G"), // LATIN LETTER SMALL CAPITAL G
    ('\u{26a}', "I"), // LATIN LETTER SMALL CAPITAL I
    ('\u{274}', "N"), // LATIN LETTER SMALL CAPITAL N
    ('\u{280}', "R"), // LATIN LETTER SMALL CAPITAL R
    ('\u{28f}', "Y"), // LATIN LETTER SMALL CAPITAL Y
    ('\u{299}', "B"), // LATIN LETTER SMALL CAPITAL B
    ('\u{29c}', "H"), // LATIN LETTER SMALL CAPITAL H
    ('\u{29f}', "L"), // LATIN LETTER SMALL CAPITAL L
    ('\u{2b9}', "'"), // MODIFIER LETTER PRIME
    ('\u{2ba}', "\""), // MODIFIER LETTER DOUBLE PRIME
    ('\u{2bb}', "'"), // MODIFIER LETTER TURNED COMMA
    ('\u{2bc}', "'"), // MODIFIER LETTER APOSTROPHE
    ('\u{2bd}', "'"), // MODIFIER LETTER REVERSED COMMA
    ('\u{2c6}', "^"), // MODIFIER LETTER CIRCUMFLEX ACCENT
    ('\u{2c8}', "'"), // MODIFIER LETTER VERTICAL LINE
    ('\u{2ca}', "'"), // MODIFIER LETTER ACUTE ACCENT
    ('\u{2cb}', "'"), // MODIFIER LETTER GRAVE ACCENT
    ('\u{2d0}', ":"), // MODIFIER LETTER TRIANGULAR COLON
    ('\u{2d6}', "+"), // MODIFIER LETTER PLUS SIGN
    ('\u{2dc}', "~"), // SMALL TILDE
    ('\u{2ee}', "\""), // MODIFIER LETTER DOUBLE APOSTROPHE
    ('\u{2f7}', "~"), // MODIFIER LETTER LOW TILDE
    ('\u{2f8}', ":"), // MODIFIER LETTER RAISED COLON
    ('\u{302}', "^"), // COMBINING CIRCUMFLEX ACCENT
    ('\u{303}', "~"), // COMBINING TILDE
    ('\u{313}', "'"), // COMBINING COMMA ABOVE
    ('\u{314}', "'"), // COMBINING REVERSED COMMA ABOVE
    ('\u{326}', ","), // COMBINING COMMA BELOW
    ('\u{330}', "~"), // COMBINING TILDE BELOW
    ('\u{332}', "_"), // COMBINING LOW LINE
    ('\u{334}', "~"), // COMBINING TILDE OVERLAY
    ('\u{337}', "/"), // COMBINING SHORT SOLIDUS OVERLAY
    ('\u{338}', "/"), // COMBINING LONG SOLIDUS OVERLAY
    ('\u{347}', "="), // COMBINING EQUALS SIGN BELOW
    ('\u{1d00}', "A"), // LATIN LETTER SMALL CAPITAL A
    ('\u{1d04}', "C"), // LATIN LETTER SMALL CAPITAL C
    ('\u{1d05}', "D"), // LATIN LETTER SMALL CAPITAL D
    ('\u{1d07}', "E"), // LATIN LETTER SMALL CAPITAL E
    ('\u{1d0a}', "J"), // LATIN LETTER SMALL CAPITAL J
    ('\u{1d0b}', "K"), // LATIN LETTER SMALL CAPITAL K
    ('\u{1d0d}', "M"), // LATIN LETTER SMALL CAPITAL M
    ('\u{1d0f}', "O"), // LATIN LETTER SMALL CAPITAL O
    ('\u{1d18}', "P"), // LATIN LETTER SMALL CAPITAL P
    ('\u{1d1b}', "T"), // LATIN LETTER SMALL CAPITAL T
    ('\u{1d1c}', "U"), // LATIN LETTER SMALL CAPITAL U
    ('\u{1d20}', "V"), // LATIN LETTER SMALL CAPITAL V
    ('\u{1d21}', "W"), // LATIN LETTER SMALL CAPITAL W
    ('\u{1d22}', "Z"), // LATIN LETTER SMALL CAPITAL Z
    ('\u{1dcd}', "^"), // COMBINING DOUBLE CIRCUMFLEX ABOVE
    ('\u{2000}', "  "), // EN QUAD
    ('\u{2001}', " "), // EM QUAD
    ('\u{2002}', "  "), // EN SPACE
    ('\u{2003}', "  "), // EM SPACE
    ('\u{2004}', "  "), // THREE-PER-EM SPACE
    ('\u{2005}', "  "), // FOUR-PER-EM SPACE
    ('\u{2006}', "  "), // SIX-PER-EM SPACE
    ('\u{2007}', "  "), // FIGURE SPACE
    ('\u{2008}', "  "), // PUNCTUATION SPACE
    ('\u{2009}', "  "), // THIN SPACE
    ('\u{200a}', "  "), // HAIR SPACE
    ('\u{200b}', ""), // ZERO WIDTH SPACE
    ('\u{200c}', ""), // ZERO WIDTH NON-JOINER
    ('\u{2010}', "-"), // HYPHEN
    ('\u{2013}', "-"), // EN DASH
    ('\u{2014}', "-"), // EM DASH
    ('\u{2015}', "-"), // HORIZONTAL BAR
    ('\u{2017}', "_"), // DOUBLE LOW LINE
    ('\u{2018}', "'"), // LEFT SINGLE QUOTATION MARK
    ('\u{2019}', "'"), // RIGHT SINGLE QUOTATION MARK
    ('\u{201a}', ","), // SINGLE LOW-9 QUOTATION MARK
    ('\u{201b}', "'"), // SINGLE HIGH-REVERSED-9 QUOTATION MARK
    ('\u{201c}', "\""), // LEFT DOUBLE QUOTATION MARK
    ('\u{201d}', "\""), // RIGHT DOUBLE QUOTATION MARK
    ('\u{201e}', "\""), // DOUBLE LOW-9 QUOTATION MARK
    ('\u{201f}', "\""), // DOUBLE HIGH-REVERSED-9 QUOTATION MARK
    ('\u{2022}', "-"), // BULLET
    ('\u{2026}', "..."), // HORIZONTAL ELLIPSIS
    ('\u{2028}', " "), // LINE SEPARATOR
    ('\u{2029}', " "), // PARAGRAPH SEPARATOR
    ('\u{202f}', "  "), // NARROW NO-BREAK SPACE
    ('\u{2039}', "<"), // SINGLE LEFT-POINTING ANGLE QUOTATION MARK
    ('\u{203a}', ">"), // SINGLE RIGHT-POINTING ANGLE QUOTATION MARK
    ('\u{203c}', "!!"), // DOUBLE EXCLAMATION MARK
    ('\u{2043}', "-"), // HYPHEN BULLET
    ('\u{2044}', "/"), // FRACTION SLASH
    ('\u{204e}', "*"), // LOW ASTERISK
    ('\u{204f}', ";"), // REVERSED SEMICOLON
    ('\u{205f}', "  "), // MEDIUM MATHEMATICAL SPACE
    ('\u{2060}', ""), // WORD JOINER
    ('\u{20d2}', "|"), // COMBINING LONG VERTICAL LINE OVERLAY
    ('\u{20d3}', "|"), // COMBINING SHORT VERTICAL LINE OVERLAY
    ('\u{20e5}', "\\"), // COMBINING REVERSE SOLIDUS OVERLAY
    ('\u{2215}', "/"), // DIVISION SLASH
    ('\u{2217}', "*"), // ASTERISK OPERATOR
    ('\u{2223}', "|"), // DIVIDES
    ('\u{223c}', "~"), // TILDE OPERATOR
    ('\u{229b}', "*"), // CIRCLED ASTERISK OPERATOR
    ('\u{239c}', "|"), // LEFT PARENTHESIS EXTENSION
    ('\u{239f}', "|"), // RIGHT PARENTHESIS EXTENSION
    ('\u{23b8}', "|"), // LEFT VERTICAL BOX LINE
    ('\u{23b9}', "|"), // RIGHT VERTICAL BOX LINE
    ('\u{23bc}', "-"), // HORIZONTAL SCAN LINE-7
    ('\u{23bd}', "-"), // HORIZONTAL SCAN LINE-9
    ('\u{23d0}', "|"), // VERTICAL LINE EXTENSION
    ('\u{2722}', "*"), // FOUR TEARDROP-SPOKED ASTERISK
    ('\u{2723}', "*"), // FOUR BALLOON-SPOKED ASTERISK
    ('\u{2724}', "*"), // HEAVY FOUR BALLOON-SPOKED ASTERISK
    ('\u{2725}', "*"), // FOUR CLUB-SPOKED ASTERISK
    ('\u{2731}', "*"), // HEAVY ASTERISK
    ('\u{2732}', "*"), // OPEN CENTRE ASTERISK
    ('\u{2733}', "*"), // EIGHT SPOKED ASTERISK
    ('\u{273a}', "*"), // SIXTEEN POINTED ASTERISK
    ('\u{273b}', "*"), // TEARDROP-SPOKED ASTERISK
    ('\u{273c}', "*"), // OPEN CENTRE TEARDROP-SPOKED ASTERISK
    ('\u{273d}', "*"), // HEAVY TEARDROP-SPOKED ASTERISK
    ('\u{2743}', "*"), // HEAVY TEARDROP-SPOKED PINWHEEL ASTERISK
    ('\u{2749}', "*"), // BALLOON-SPOKED ASTERISK
    ('\u{274a}', "*"), // EIGHT TEARDROP-SPOKED PROPELLER ASTERISK
    ('\u{274b}', "*"), // HEAVY EIGHT TEARDROP-SPOKED PROPELLER ASTERISK
    ('\u{275b}', "'"), // HEAVY SINGLE TURNED COMMA QUOTATION MARK ORNAMENT
    ('\u{275c}', "'"), // HEAVY SINGLE COMMA QUOTATION MARK ORNAMENT
    ('\u{275d}', "\""), // HEAVY DOUBLE TURNED COMMA QUOTATION MARK ORNAMENT
    ('\u{275e}', "\""), // HEAVY DOUBLE COMMA QUOTATION MARK ORNAMENT
    ('\u{2768}', "("), // MEDIUM LEFT PARENTHESIS ORNAMENT
    ('\u{2769}', ")"), // MEDIUM RIGHT PARENTHESIS ORNAMENT
    ('\u{276a}', "("), // MEDIUM FLATTENED LEFT PARENTHESIS ORNAMENT
    ('\u{276b}', ")"), // MEDIUM FLATTENED RIGHT PARENTHESIS ORNAMENT
    ('\u{2774}', "{"), // MEDIUM LEFT CURLY BRACKET ORNAMENT
    ('\u{2775}', "}"), // MEDIUM RIGHT CURLY BRACKET ORNAMENT
    ('\u{27ee}', "("), // MATHEMATICAL LEFT FLATTENED PARENTHESIS
    ('\u{27ef}', ")"), // MATHEMATICAL RIGHT FLATTENED PARENTHESIS
    ('\u{2982}', ":"), // Z NOTATION TYPE COLON
    ('\u{2985}', "("), // LEFT WHITE PARENTHESIS
    ('\u{2986}', ")"), // RIGHT WHITE PARENTHESIS
    ('\u{29c6}', "*"), // SQUARED ASTERISK
    ('\u{29f5}', "\\"), // REVERSE SOLIDUS OPERATOR
    ('\u{29f8}', "/"), // BIG SOLIDUS
    ('\u{29f9}', "\\"), // BIG REVERSE SOLIDUS
    ('\u{3000}', "  "), // IDEOGRAPHIC SPACE
    ('\u{3001}', ","), // IDEOGRAPHIC COMMA
    ('\u{3002}', "."), // IDEOGRAPHIC FULL STOP
    ('\u{301d}', "\""), // REVERSED DOUBLE PRIME QUOTATION MARK
    ('\u{301e}', "\""), // DOUBLE PRIME QUOTATION MARK
    ('\u{a730}', "F"), // LATIN LETTER SMALL CAPITAL F
    ('\u{a731}', "S"), // LATIN LETTER SMALL CAPITAL S
    ('\u{a789}', ":"), // MODIFIER LETTER COLON
    ('\u{a78a}', "="), // MODIFIER LETTER SHORT EQUALS SIGN
    ('\u{fe10}', "'"), // PRESENTATION FORM FOR VERTICAL COMMA
    ('\u{fe11}', "'"), // PRESENTATION FORM FOR VERTICAL IDEOGRAPHIC COMMA
    ('\u{fe13}', ":"), // PRESENTATION FORM FOR VERTICAL COLON
    ('\u{fe14}', ";"), // PRESENTATION FORM FOR VERTICAL SEMICOLON
    ('\u{fe15}', "!"), // PRESENTATION FORM FOR VERTICAL EXCLAMATION MARK
    ('\u{fe16}', "?"), // PRESENTATION FORM FOR VERTICAL QUESTION MARK
    ('\u{fe50}', ","), // SMALL COMMA
    ('\u{fe51}', ","), // SMALL IDEOGRAPHIC COMMA
    ('\u{fe52}', "."), // SMALL FULL STOP
    ('\u{fe54}', ";"), // SMALL SEMICOLON
    ('\u{fe56}', "?"), // SMALL QUESTION MARK
    ('\u{fe57}', "!"), // SMALL EXCLAMATION MARK
    ('\u{fe59}', "("), // SMALL LEFT PARENTHESIS
    ('\u{fe5a}', ")"), // SMALL RIGHT PARENTHESIS
    ('\u{fe5b}', "{"), // SMALL LEFT CURLY BRACKET
    ('\u{fe5c}', "}"), // SMALL RIGHT CURLY BRACKET
    ('\u{fe5f}', "#"), // SMALL NUMBER SIGN
    ('\u{fe60}', "&"), // SMALL AMPERSAND
    ('\u{fe61}', "*"), // SMALL ASTERISK
    ('\u{fe62}', "+"), // SMALL PLUS SIGN
    ('\u{fe63}', "-"), // SMALL HYPHEN-MINUS
    ('\u{fe64}', "<"), // SMALL LESS-THAN SIGN
    ('\u{fe65}', ">"), // SMALL GREATER-THAN SIGN
    ('\u{fe66}', "="), // SMALL EQUALS SIGN
    ('\u{fe68}', "\\"), // SMALL REVERSE SOLIDUS
    ('\u{fe69}', "$"), // SMALL DOLLAR SIGN
    ('\u{fe6a}', "%"), // SMALL PERCENT SIGN
    ('\u{fe6b}', "@"), // SMALL COMMERCIAL AT
    ('\u{feff}', ""), // ZERO WIDTH NO-BREAK SPACE
    ('\u{ff01}', "!"), // FULLWIDTH EXCLAMATION MARK
    ('\u{ff02}', "\""), // FULLWIDTH QUOTATION MARK
    ('\u{ff03}', "#"), // FULLWIDTH NUMBER SIGN
    ('\u{ff04}', "$"), // FULLWIDTH DOLLAR SIGN
    ('\u{ff05}', "%"), // FULLWIDTH PERCENT SIGN
    ('\u{ff06}', "&"), // FULLWIDTH AMPERSAND
    ('\u{ff07}', "'"), // FULLWIDTH APOSTROPHE
    ('\u{ff08}', "("), // FULLWIDTH LEFT PARENTHESIS
    ('\u{ff09}', ")"), // FULLWIDTH RIGHT PARENTHESIS
    ('\u{ff0a}', "*"), // FULLWIDTH ASTERISK
    ('\u{ff0b}', "+"), // FULLWIDTH PLUS SIGN
    ('\u{ff0c}', ","), // FULLWIDTH COMMA
    ('\u{ff0d}', "-"), // FULLWIDTH HYPHEN-MINUS
    ('\u{ff0e}', "."), // FULLWIDTH FULL STOP
    ('\u{ff0f}', "/"), // FULLWIDTH SOLIDUS
    ('\u{ff10}', "0"), // FULLWIDTH DIGIT ZERO
    ('\u{ff11}', "1"), // FULLWIDTH DIGIT ONE
    ('\u{ff12}', "2"), // FULLWIDTH DIGIT TWO
    ('\u{ff13}', "3"), // FULLWIDTH DIGIT THREE
    ('\u{ff14}', "4"), // FULLWIDTH DIGIT FOUR
    ('\u{ff15}', "5"), // FULLWIDTH DIGIT FIVE
    ('\u{ff16}', "6"), // FULLWIDTH DIGIT SIX
    ('\u{ff17}', "7"), // FULLWIDTH DIGIT SEVEN
    ('\u{ff18}', "8"), // FULLWIDTH DIGIT EIGHT
    ('\u{ff19}', "9"), // FULLWIDTH DIGIT NINE
    ('\u{ff1a}', ":"), // FULLWIDTH COLON
    ('\u{ff1b}', ";"), // FULLWIDTH SEMICOLON
    ('\u{ff1c}', "<"), // FULLWIDTH LESS-THAN SIGN
    ('\u{ff1d}', "="), // FULLWIDTH EQUALS SIGN
    ('\u{ff1e}', ">"), // FULLWIDTH GREATER-THAN SIGN
    ('\u{ff1f}', "?"), // FULLWIDTH QUESTION MARK
    ('\u{ff20}', "@"), // FULLWIDTH COMMERCIAL AT
    ('\u{ff21}', "A"), // FULLWIDTH LATIN CAPITAL LETTER A
    ('\u{ff22}', "B"), // FULLWIDTH LATIN CAPITAL LETTER B
    ('\u{ff23}', "C"), // FULLWIDTH LATIN CAPITAL LETTER C
    ('\u{ff24}', "D"), // FULLWIDTH LATIN CAPITAL LETTER D
    ('\u{ff25}', "E"), // FULLWIDTH LATIN CAPITAL LETTER E
    ('\u{ff26}', "F"), // FULLWIDTH LATIN CAPITAL LETTER F
    ('\u{ff27}', "G"), // FULLWIDTH LATIN CAPITAL LETTER G
    ('\u{ff28}', "H"), // FULLWIDTH LATIN CAPITAL LETTER H
    ('\u{ff29}', "I"), // FULLWIDTH LATIN CAPITAL LETTER I
    ('\u{ff2a}', "J"), // FULLWIDTH LATIN CAPITAL LETTER J
    ('\u{ff2b}', "K"), // FULLWIDTH LATIN CAPITAL LETTER K
    ('\u{ff2c}', "L"), // FULLWIDTH LATIN CAPITAL LETTER L
    ('\u{ff2d}', "M"), // FULLWIDTH LATIN CAPITAL LETTER M
    ('\u{ff2e}', "N"), // FULLWIDTH LATIN CAPITAL LETTER N
    ('\u{ff2f}', "O"), // FULLWIDTH LATIN CAPITAL LETTER O
    ('\u{ff30}', "P"), // FULLWIDTH LATIN CAPITAL LETTER P
    ('\u{ff31}', "Q"), // FULLWIDTH LATIN CAPITAL LETTER Q
    ('\u{ff32}', "R"), // FULLWIDTH LATIN CAPITAL LETTER R
    ('\u{ff33}', "S"), // FULLWIDTH LATIN CAPITAL LETTER S
    ('\u{ff34}', "T"), // FULLWIDTH LATIN CAPITAL LETTER T
    ('\u{ff35}', "U"), // FULLWIDTH LATIN CAPITAL LETTER U
    ('\u{ff36}', "V"), // FULLWIDTH LATIN CAPITAL LETTER V
    ('\u{ff37}', "W"), // FULLWIDTH LATIN CAPITAL LETTER W
    ('\u{ff38}', "X"), // FULLWIDTH LATIN CAPITAL LETTER X
    ('\u{ff39}', "Y"), // FULLWIDTH LATIN CAPITAL LETTER Y
    ('\u{ff3a}', "Z"), // FULLWIDTH LATIN CAPITAL LETTER Z
    ('\u{ff3b}', "["), // FULLWIDTH LEFT SQUARE BRACKET
    ('\u{ff3c}', "\\"), // FULLWIDTH REVERSE SOLIDUS
    ('\u{ff3d}', "]"), // FULLWIDTH RIGHT SQUARE BRACKET
    ('\u{ff3e}', "^"), // FULLWIDTH CIRCUMFLEX ACCENT
    ('\u{ff3f}', "_"), // FULLWIDTH LOW LINE
    ('\u{ff5b}', "{"), // FULLWIDTH LEFT CURLY BRACKET
    ('\u{ff5c}', "|"), // FULLWIDTH VERTICAL LINE
    ('\u{ff5d}', "}"), // FULLWIDTH RIGHT CURLY BRACKET
    ('\u{ff5e}', "~"), // FULLWIDTH TILDE
    ('\u{ff61}', "."), // HALFWIDTH IDEOGRAPHIC FULL STOP
    ('\u{ff64}', ","), // HALFWIDTH IDEOGRAPHIC COMMA
]
