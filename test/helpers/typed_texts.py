"""What readers type, and what it must not become: code of other languages."""

from hypothesis import strategies as st

from web_app import HOSTILE

TEXTS = (
    *HOSTILE,
    'it\'s "quoted"',
    "two\nlines\tand\r\nmore",
    "$HOME `id` $(id) ${IFS} !!",
    "\\' \\\" \\\\ \\u0041 \\x41",
    "#(lf) #(#) #snow ##(0041)",
    "SQL\n); \\! id",
    "$__timeFilter(x) ${name} [[name]]",
    "naïve 雪 ❄️ 👩‍👩‍👧 \U0010ffff \u2028 \x7f \x1b[31m",
    "-rf",
    "@file",
    "NA",
    "' OR 1=1 --",
    " ",
)
# No NUL, as pages remove it; no surrogate, which is no character.
TYPED = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0")
) | st.sampled_from(TEXTS)
