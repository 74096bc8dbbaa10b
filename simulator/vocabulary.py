"""Words, places and names for generated posts, all invented for this project."""

import msgspec

from simulator.posts import Area


class Language(msgspec.Struct, frozen=True):
    """Parts of sentences that fit together in any combination: opening, middle, end."""

    code: str
    openings: tuple[str, ...]
    middles: tuple[str, ...]
    ends: tuple[str, ...]
    tags: tuple[str, ...]
    gap: str = " "  # between the parts; empty for languages without word spaces


LANGUAGES = (
    Language(
        "en",
        (
            "Finally",
            "Honestly",
            "This morning",
            "Just now",
            "Not sure why but",
            "Again",
            "For the record",
            "Small update:",
            "Unpopular opinion:",
            "Tonight",
        ),
        (
            "the last bus to the harbour",
            "our neighbour's tomato garden",
            "the new library card",
            "a slow train through the hills",
            "the coffee machine at work",
            "my grandmother's recipe",
            "the telescope on the roof",
            "the school football team",
            "that old cinema",
            "the first snow day of the year",
            "a snow day with the kids",
        ),
        (
            "made my whole week.",
            "was late again today.",
            "deserves far more love",
            "looks better in the rain",
            "is a mystery to me 🤔",
            "went better than planned!",
            "will be the talk of the town",
            "cost less than lunch",
            "is worth getting up early for ☕",
        ),
        ("news", "weather", "MondayMorning", "gardening", "snowday", "breaking", "TrainLife"),
    ),
    Language(
        "es",
        ("Por fin", "Esta mañana", "La verdad,", "Otra vez", "Hoy", "Te cuento que"),
        (
            "el último tren a la costa",
            "la panadería de la esquina",
            "el huerto del colegio",
            "la biblioteca del barrio",
            "el café de mi abuela",
            "la plaza llena de música",
        ),
        (
            "me alegró el día.",
            "llegó tarde, como siempre",
            "merece más cariño",
            "está mejor que nunca ☀️",
            "es un misterio",
            "salió mejor de lo que pensábamos",
        ),
        ("noticias", "España", "buenosdías", "música", "lluvia"),
    ),
    Language(
        "de",
        ("Endlich", "Heute früh", "Ehrlich gesagt", "Schon wieder", "Kurzer Hinweis:", "Gestern"),
        (
            "der Nachtzug über die Alpen",
            "die Bäckerei am Markt",
            "unser Gemüsegarten",
            "das Freibad im Regen",
            "die alte Straßenbahn",
            "der Weg durch den Wald",
        ),
        (
            "hat mir den Tag gerettet.",
            "war wieder zu spät",
            "ist schöner als gedacht 😊",
            "bleibt ein Rätsel",
            "müsste öfter gelobt werden",
            "kostet weniger als ein Mittagessen",
        ),
        ("Nachrichten", "Wetter", "Zugfahrt", "Garten", "Frühstück"),
    ),
    Language(
        "fr",
        ("Enfin", "Ce matin", "Franchement,", "Encore une fois", "Petite nouvelle :"),
        (
            "le marché du dimanche",
            "la bibliothèque du quartier",
            "le vieux cinéma",
            "le potager de l'école",
            "le train de nuit",
        ),
        (
            "vaut le détour.",
            "était en retard, comme d'habitude",
            "m'a donné le sourire 🙂",
            "reste un mystère",
            "coûte moins qu'un café",
        ),
        ("actualités", "météo", "dimanche", "cinéma"),
    ),
    Language(
        "pt",
        ("Finalmente", "Hoje cedo", "Sinceramente,", "De novo"),
        ("o bonde da praia", "a horta da escola", "o café da minha avó", "a feira de sábado"),
        ("salvou o meu dia.", "atrasou outra vez", "merece mais carinho ❤️", "ficou melhor ainda"),
        ("notícias", "chuva", "bomdia", "feira"),
    ),
    Language(
        "tr",
        ("Nihayet", "Bu sabah", "Açıkçası", "Yine"),
        ("sahildeki son vapur", "mahalle kütüphanesi", "okulun bahçesi", "köşedeki fırın"),
        ("günümü güzelleştirdi.", "yine gecikti", "daha çok sevgiyi hak ediyor", "bir sır gibi"),
        ("haber", "günaydın", "yağmur"),
    ),
    Language(
        "ru",
        ("Наконец-то", "Сегодня утром", "Честно говоря,", "Опять"),
        ("ночной поезд на север", "библиотека во дворе", "школьный сад", "старый трамвай"),
        ("сделал мой день.", "снова опоздал", "выглядит лучше под дождём", "остаётся загадкой"),
        ("новости", "погода", "утро"),
    ),
    Language(
        "ar",
        ("أخيرا", "هذا الصباح", "بصراحة", "مرة أخرى"),
        ("القطار الأخير إلى الساحل", "مكتبة الحي", "حديقة المدرسة", "قهوة جدتي"),
        ("أسعدني اليوم", "تأخر كالعادة", "يستحق المزيد من الحب", "أجمل تحت المطر 🌧️"),
        ("أخبار", "صباح_الخير", "مطر"),
    ),
    Language(
        "hi",
        ("आखिरकार", "आज सुबह", "सच कहूँ तो", "फिर से"),
        ("पहाड़ों की धीमी रेल", "मोहल्ले का पुस्तकालय", "स्कूल का बगीचा", "दादी की चाय"),
        ("ने दिन बना दिया।", "फिर देर से आई", "सबसे अच्छी लगी", "एक पहेली है"),
        ("समाचार", "बारिश", "सुप्रभात"),
    ),
    Language(
        "ja",
        ("ついに", "今朝は", "正直に言うと", "また", "さっき"),
        ("海辺の終電が", "近所の図書館が", "学校の畑が", "祖母の味噌汁が", "古い映画館が"),
        (
            "最高でした。",
            "遅れていました",
            "もっと愛されていい",
            "雨の日に似合う☔",
            "気になります",
        ),
        ("ニュース", "天気", "おはよう", "雪"),
        gap="",
    ),
    Language(
        "ko",
        ("드디어", "오늘 아침", "솔직히", "또다시"),
        ("바닷가 막차가", "동네 도서관이", "학교 텃밭이", "할머니의 된장국이"),
        ("하루를 살렸다.", "또 늦었다", "더 사랑받아야 한다", "비 오는 날 더 예쁘다 ☔"),
        ("뉴스", "날씨", "아침"),
    ),
    Language(
        "th",
        ("ในที่สุด", "เช้านี้", "พูดตรงๆ", "อีกครั้ง"),
        ("รถไฟสายสุดท้าย", "ห้องสมุดใกล้บ้าน", "สวนของโรงเรียน", "กาแฟของคุณยาย"),
        ("ทำให้วันนี้ดีขึ้น", "มาสายอีกแล้ว", "น่ารักมาก", "สวยกว่าเดิมตอนฝนตก ☔"),
        ("ข่าว", "ฝนตก", "อรุณสวัสดิ์"),
        gap="",
    ),
    Language(
        "zh",
        ("终于", "今天早上", "说实话", "又一次"),
        ("海边的末班车", "附近的图书馆", "学校的菜园", "奶奶的热汤"),
        ("让我很开心。", "又迟到了", "值得更多的爱", "下雨时更美☔"),
        ("新闻", "天气", "早安"),
        gap="",
    ),
)

LANGUAGE_WEIGHTS = (40, 12, 8, 6, 6, 4, 4, 5, 3, 7, 3, 4, 3)

SYLLABLES = (
    "ba", "cor", "dal", "el", "fen", "gri", "hol", "im", "jor", "kel", "lum", "mar", "nor", "ol",
    "pip", "quin", "ros", "sil", "tam", "ul", "ven", "wil", "yar", "zo",
)  # fmt: skip
HOBBIES = (
    "paints birds", "walks a lot", "bread, bikes and bad puns", "two cats, no plan",
    "retired lighthouse keeper", "learning the cello", "maps and timetables", "café, libros, mar",
    "山と本", "Radfahrerin", "coffee first", "amateur de cinéma", "قهوة وكتب",
)  # fmt: skip
ORGANISATIONS = (
    ("nasa", "NASA"), ("esa", "European Space Agency"), ("BBCNews", "BBC News"),
    ("metoffice", "Met Office"), ("UNICEF", "UNICEF"), ("WHO", "World Health Organization"),
    ("NWS", "National Weather Service"), ("CERN", "CERN"),
)  # fmt: skip
CASHTAGS = ("XMPL", "ACME", "TRAM", "BREAD")
SITES = (
    "example.com/news/snow-day", "example.org/weather/today", "blog.example.net/slow-trains",
    "example.com/recipes/tomato-soup", "science.example.org/telescope/first-light",
    "example.net/", "shop.example.com/coats?size=m&ref=post",
)  # fmt: skip
APPS = ("Web App", "Phone App", "Tablet App", "Weather Bot 3000")

AREAS = (
    Area("00sim0000000oslo", "Oslo", "Oslo, Norway", "Norway", "NO", "city",
         (10.49, 59.81, 10.95, 60.14)),
    Area("00sim0000000nyc0", "New York", "New York, USA", "United States", "US", "city",
         (-74.26, 40.48, -73.70, 40.92)),
    Area("00sim0000000madr", "Madrid", "Madrid, Spain", "Spain", "ES", "city",
         (-3.89, 40.31, -3.52, 40.64)),
    Area("00sim0000000berl", "Berlin", "Berlin, Germany", "Germany", "DE", "city",
         (13.09, 52.34, 13.76, 52.68)),
    Area("00sim0000000toky", "Tokyo", "Tokyo, Japan", "Japan", "JP", "admin",
         (139.56, 35.52, 139.92, 35.82)),
    Area("00sim0000000cair", "Cairo", "Cairo, Egypt", "Egypt", "EG", "city",
         (31.13, 29.95, 31.47, 30.17)),
    Area("00sim0000000bkk0", "Bangkok", "Bangkok, Thailand", "Thailand", "TH", "city",
         (100.33, 13.49, 100.94, 13.96)),
    Area("00sim0000000rio0", "Rio de Janeiro", "Rio de Janeiro, Brazil", "Brazil", "BR", "city",
         (-43.80, -23.08, -43.10, -22.75)),
)  # fmt: skip
