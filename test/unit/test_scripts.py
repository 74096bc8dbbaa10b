"""What a keyword matches in each script, the same on all networks: the README's table in full.

Where X says what it does (accents are exact, case is ignored), this does the same. The other rows
are what people expect who type the word on a keyboard of their language.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from network_messages import MESSAGES, Post
from stream.jsontext import sanitize_for_jsonb
from stream.matcher import Matcher
from stream.matcher.normalized import NormalizedContent
from stream.networks.registry import NETWORKS
from stream.query import parse
from stream.query.tokenize import comparable, composed
from stream.tweet import Content, NetworkName, TrackId, Tweet

Row = tuple[str, str, tuple[str, ...], tuple[str, ...]]
# Script, keyword, texts that match, texts that do not.
KEYWORDS: tuple[Row, ...] = (
    ("Latin", "café", ("CAFÉ!", "un cafe\u0301.", "#café"), ("cafe", "cafés", "càfé")),
    ("Latin", "cafe", ("Cafe",), ("café",)),
    ("Latin", "naïve", ("so NAÏVE",), ("naive",)),
    ("Vietnamese", "Việt", ("VIỆT Nam", "Vie\u0323\u0302t"), ("Viet", "Viêt")),
    # A capital I belongs to both letters, and no post says for which language it was written.
    ("Turkish", "ısparta", ("ISPARTA", "Isparta", "ısparta"), ("ıspartalı",)),
    (
        "Turkish",
        "istanbul",
        ("İSTANBUL", "ISTANBUL", "İstanbul'da", "I\u0307stanbul"),
        ("stanbul",),
    ),
    ("Turkish", "İzmir", ("izmir", "IZMIR"), ("izmirli",)),
    # The capitals of ß are SS and ẞ; in Switzerland there is no ß.
    ("German", "Straße", ("STRASSE", "STRAẞE", "strasse", "straße"), ("Strase", "Hauptstraße")),
    ("German", "Strasse", ("Straße",), ("Straßen",)),
    ("German", "Müller", ("MÜLLER", "Mu\u0308ller"), ("Mueller", "Muller")),
    # Accents count as in Latin; capitals are mostly written without.
    ("Greek", "οδός", ("ΟΔΌΣ", "ΟΔΌΣ.", "Οδός", "οδόσ"), ("ΟΔΟΣ", "οδόςα")),
    ("Greek", "οδοσ", ("ΟΔΟΣ", "οδος!"), ("οδός",)),
    ("Cyrillic", "Київ", ("КИЇВ", "Киі\u0308в"), ("Киев", "Київський")),
    ("Cyrillic", "ёлка", ("ЁЛКА", "е\u0308лка"), ("елка",)),
    # Vowel signs and the tatweel are left out as a rule; hamza and the final ى are letters.
    ("Arabic", "محمد", ("مُحَمَّد", "محـــمد", "قال محمد،"), ("محمدي", "أحمد")),
    ("Arabic", "مُحَمَّد", ("محمد",), ("محمود",)),
    ("Arabic", "أحمد", ("أَحْمَد",), ("احمد",)),
    ("Arabic", "على", ("عَلَى",), ("علي", "علا")),
    # Keyboards have the Arabic or the Persian ی and ک; the half-space is a space.
    ("Persian", "کتاب", ("كتاب", "کتاب\u200cها", "کتاب‌های"), ("کتابها", "کتابخانه")),
    (
        "Persian",
        "می\u200cخواهم",
        ("می\u200cخواهم", "می خواهم", "مي\u200cخواهم"),
        ("میخواهم", "خواهم می"),
    ),
    ("Persian", "ایرانی", ("ايراني",), ("ایران",)),
    ("Urdu", "پاکستان", ("پاکِستان", "پاكستان"), ("پاکستانی",)),
    # Vowel points are left out as a rule; acronyms are mostly typed with ".
    ("Hebrew", "שלום", ("שָׁלוֹם", "שלום!"), ("ושלום", "שלומות")),
    ("Hebrew", "שָׁלוֹם", ("שלום",), ()),
    ("Hebrew", "צה״ל", ('צה"ל', "צה״ל"), ("צהל",)),
    ("Hebrew", "צ׳ק", ("צ'ק", "צ’ק"), ("צק",)),
    # A nukta makes another letter, in one character or two; joiners only change the shape.
    ("Devanagari", "हिन्दी", ("यह हिन्दी है।", "हिन्\u200dदी", "हिन्\u200cदी"), ("हिंदी", "हिन्दीभाषी")),
    ("Devanagari", "ज़रूर", ("ज\u093cरूर", "\u095bरूर"), ("जरूर",)),
    ("Devanagari", "क", (), ("कि", "क्या")),
    ("Bengali", "বাংলা", ("আমি বাংলা বলি",), ("বাংলাদেশ",)),
    ("Sinhala", "ශ්\u200dරී", ("ශ්\u200dරී ලංකා", "ශ්රී"), ("ශ්\u200dරීමත්",)),
    ("Tamil", "தமிழ்", ("தமிழ் மொழி",), ("தமிழ", "தமிழர்")),
    # Scripts without word spaces match inside of other words.
    ("Han", "台风", ("今夜有台风了",), ("颱風", "风台")),
    ("Kana", "カタカナ", ("ｶﾀｶﾅ", "このカタカナは"), ("かたかな", "カタナ")),
    ("Kana", "ガンダム", ("ｶﾞﾝﾀﾞﾑ", "カ\u3099ンタ\u3099ム"), ("カンタム",)),
    ("Kana", "ｱﾆﾒ", ("アニメが",), ("あにめ",)),
    ("Hangul", "서울", ("서울에서", "서울"), ("서 울", "서우")),
    ("Hangul", "서울", ("\u1109\u1165\u110b\u116e\u11af\u110b\u1166",), ("\u1109\u1165",)),
    # Not inside a syllable: what follows a term must not be a mark of its last letter.
    ("Thai", "ไทย", ("ประเทศไทยวันนี้",), ("ไท",)),
    ("Thai", "ที", ("ทีมชาติ",), ("ที่นี่", "ท")),
    ("Myanmar", "ဗမာ", ("မြန်မာဗမာစာ",), ("ဗမ",)),
    ("Khmer", "ខ្មែរ", ("ភាសាខ្មែរ",), ("ខ្មែ",)),
    # An emoji is found as a whole, in each style and, without a skin tone, in each tone.
    ("Emoji", "❤", ("❤\ufe0f", "❤\ufe0e", "a❤b"), ("❤\ufe0f\u200d🔥", "💙")),
    ("Emoji", "❤\ufe0f", ("❤",), ()),
    ("Emoji", "👍", ("👍🏽", "👍👍🏿"), ("👎",)),
    ("Emoji", "👍🏽", ("ok👍🏽",), ("👍", "👍🏿")),
    ("Emoji", "👩\u200d🚀", ("👩🏽\u200d🚀",), ("👩", "🚀", "👨\u200d🚀")),
    ("Emoji", "🇺🇸", ("🇺🇸🇸🇪",), ("🇦🇺🇸🇪",)),
    ("Emoji", "1\ufe0f\u20e3", ("1\u20e3",), ("1",)),
    ("Full width", "abc1", ("ＡＢＣ１", "ａｂｃ１！"), ("ＡＢＣ２", "ＡＢＣ１Ｄ")),
    ("Full width", "ＮＡＳＡ", ("nasa", "NASA、"), ("nasas",)),
    ("Full width", "50%off", ("５０％ＯＦＦ",), ("５０ＯＦＦ",)),
)
# Script, hashtag, hashtags as written, with their sign; the same for those that do not match.
HASHTAGS: tuple[Row, ...] = (
    ("Latin", "#café", ("#Café", "#CAFE\u0301"), ("#cafe", "#cafés")),
    ("Turkish", "#Diyarbakır", ("#DIYARBAKIR", "#diyarbakır"), ("#diyarbakırda",)),
    ("German", "#Straße", ("#STRASSE",), ("#Strase",)),
    ("Greek", "#οδος", ("#ΟΔΟΣ",), ("#οδός",)),
    ("Arabic", "#محمد", ("#مُحَمَّد", "#محـمد"), ("#محمد_علي",)),
    ("Persian", "#می\u200cخواهم", ("#می\u200cخواهم",), ("#میخواهم",)),
    ("Hebrew", "#צה״ל", ("#צה״ל",), ("#צהל",)),
    ("Devanagari", "#हिन्दी", ("#हिन्दी",), ("#हिंदी",)),
    ("Han", "#東京", ("#東京", "＃東京"), ("#東京タワー", "#東")),
    ("Kana", "#ガンダム", ("#ｶﾞﾝﾀﾞﾑ",), ("#カンタム",)),
    ("Hangul", "#서울", ("#서울",), ("#서울에서",)),
    ("Thai", "#ไทย", ("#ไทย",), ("#ไทยแลนด์",)),
    ("Full width", "＃nasa", ("#NASA", "＃ＮＡＳＡ"), ("#nasa2",)),
)


def readme_rows() -> Iterator[Row]:
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    table = readme.partition("| script | keyword ")[2].partition("\n\n")[0]
    for line in table.splitlines()[2:]:
        script, keyword, matching, others = line.strip("| ").split(" | ")
        yield script, keyword.strip("`"), _quoted(matching), _quoted(others)


def _quoted(cell: str) -> tuple[str, ...]:
    return tuple(re.findall("`([^`]+)`", cell))


def cases(rows: tuple[Row, ...]) -> list[tuple[str, str, bool]]:
    return [
        (track, text, expected)
        for _, track, matching, others in rows
        for expected, texts in ((True, matching), (False, others))
        for text in texts
    ]


def matches(network: NetworkName, track: str, body: bytes) -> bool:
    tweet = NETWORKS[network].decode(sanitize_for_jsonb(body)[0])
    assert isinstance(tweet, Tweet)
    found = Matcher([(TrackId(1), parse("keyword", track))]).match(tweet)
    by_rule = Matcher([(TrackId(1), parse("query", track))]).match(tweet)
    assert bool(found) is bool(by_rule)
    return bool(found)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("track", "text", "expected"), cases((*KEYWORDS, *readme_rows())))
def test_a_keyword_matches_the_same_texts_on_all_networks(
    network: NetworkName, track: str, text: str, expected: bool
) -> None:
    for around in ("", "Lorem – "):
        body = MESSAGES[network](Post(around + text))
        assert matches(network, track, body) is expected


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("track", "written", "expected"), cases(HASHTAGS))
def test_a_hashtag_matches_the_same_hashtags_on_all_networks(
    network: NetworkName, track: str, written: str, expected: bool
) -> None:
    body = MESSAGES[network](Post(f"Lorem {written} ipsum", (written[1:],)))
    assert matches(network, track, body) is expected
    assert not matches(network, track, MESSAGES[network](Post(f"Lorem {written[1:]} ipsum")))


def test_every_character_that_is_compared_as_another_is_so_in_a_longer_text() -> None:
    changed = [each for each in map(chr, range(0x20, 0x11000)) if comparable(each) != each]
    assert len(changed) > 200
    for each in changed:
        view = NormalizedContent("own", Content(text=f"a{each}b"))
        assert view.blob == comparable(composed(f"a{each}b")), hex(ord(each))


def test_the_table_of_the_readme_is_read() -> None:
    rows = list(readme_rows())
    assert len(rows) == 14
    assert all(matching and others for _, _, matching, others in rows)
