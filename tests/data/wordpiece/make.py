"""Makes texts.jsonl and hashes.txt: what the reference tokenizer makes of many texts. src/embed/minilm/wordpiece_test.c compares.

Run with tokenizers 0.23.3 and babel 2.18.0 installed: python tests/data/wordpiece/make.py MODEL, where MODEL is the folder of
all-MiniLM-L6-v2 with tokenizer.json; vocab.txt here is a copy of the one there.

texts.jsonl: a text and its ids per line, texts of people and of corner cases. Names of languages, days and months are CLDR's.
hashes.txt: "FAMILY N HASH", a hash of the ids of a group of texts, which the test makes by the same rules (families below)."""
import json
import pathlib
import sys

import babel.localedata
from tokenizers import Tokenizer

HERE = pathlib.Path(__file__).resolve().parent
MASK64 = (1 << 64) - 1

PEOPLE = """
When did Caroline go to the support group?|What's the name of Melanie's dog, and how old is it?
I didn't think we'd make it; the train was 40 minutes late (again!).|The boat needs two coats of paint before 12 May 2024.
She said: "Let's meet at 7:30 p.m. -- don't be late..."|My e-mail is anna.smith+lists@example.org, phone +44 (0)20 7946 0958.
It costs $1,299.99 (about €1.200), i.e. 15% off.|Supercalifragilisticexpialidocious antidisestablishmentarianism
Müde Hunde schlafen gern, heißt es in Österreich.|Où êtes-vous allés cet été ? À l'hôtel, bien sûr, chez Noël.
¿Dónde está el niño? ¡Mañana será otro día!|Não há coração que não sinta saudade; amanhã será avó.
Perché no? Così è la città più bella.|Zażółć gęślą jaźń, Łódź i Kraków.|Příliš žluťoučký kůň úpěl ďábelské ódy.
Árvíztűrő tükörfúrógép|İstanbul'da ılık bir gün; IĞDIR ışık|Ångström blåbærsyltetøy på Færøerne|Þú ert æðislegur, Ísland!
Tôi đã ăn phở ở Hà Nội hôm qua. Ở đây đẹp quá!|Съешь же ещё этих мягких французских булок, да выпей чаю.|Ґудзик їжака в Києві, об'їзд
Ξεσκεπάζω τὴν ψυχοφθόρα βδελυγμία. Ἐν ἀρχῇ ἦν ὁ λόγος· τί;|Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι.
דג סקרן שט בים מאוכזב ולפתע מצא חברה|בְּרֵאשִׁית בָּרָא אֱלֹהִים|نص حكيم له سر قاطع وذو شأن عظيم|السَّلَامُ عَلَيْكُمْ، كيف حالك؟
سلام دنیا، حال شما چطور است؟ می‌خواهم|آپ کیسے ہیں؟ میں ٹھیک ہوں۔|सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता प्राप्त है।
সমস্ত মানুষ স্বাধীনভাবে জন্মগ্রহণ করে।|மனிதப் பிறிவியினர் சகலரும் சுதந்திரமாகவே பிறக்கின்றனர்|ప్రతిపత్తిస్వత్వముల విషయమున మానవులెల్లరును|ಎಲ್ಲಾ ಮಾನವರೂ ಸ್ವತಂತ್ರರಾಗಿಯೇ
മനുഷ്യരെല്ലാവരും തുല്യാവകാശങ്ങളോടും|ਸਾਰਾ ਮਨੁੱਖੀ ਪਰਿਵਾਰ|પ્રતિષ્ઠા અને અધિકારો|සියලු මනුෂ්‍යයෝ නිදහස්ව|มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกัน
ມະນຸດທຸກຄົນເກີດມາ|លុំផលរបស់មនុស្ស|လူတိုင်းသည် တူညီ လွတ်လပ်သော|འགྲོ་བ་མིའི་རིགས་རྒྱུད་ཡོངས་ལ|ყველა ადამიანი იბადება თავისუფალი|Բոլոր մարդիկ ծնվում են ազատ
ሁሉም ሰዎች ነፃ ናቸው።|ᏂᎦᏓ ᎠᏂᏴᏫ|ᐃᓄᓗᒃᑖᑦ ᐊᓂᖅᑎᕆᔪᓕᒫᑦ᙮|ᠬᠦᠮᠦᠨ ᠪᠦᠷ ᠲᠥᠷᠥᠵᠦ|人人生而自由，在尊严和权利上一律平等。|人人生而自由,在尊嚴和權利上一律平等。
すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。|ｶﾀｶﾅ と ﾊﾞﾊﾟ、「ガギグ」ー々〆〇|모든 인간은 태어날 때부터 자유로우며|한글ABC漢字かな混在
ɪntəˈnæʃənəl fəˈnɛtɪk ˈælfəˌbɛt ɤ ʘ ǃ|ΑΣ ΣΑΣ Ὀδυσσεύς ΌΣΟΣ|ǅ Ǆ ǆ Ǳ ǲ ﬁ ﬂ ﬀ ﬃ ﬅ ﬆ ß ẞ ſ K Å Ω ℵ ℃ № ™ ½ ² ₃ Ⅷ ⅷ ① ㊙ ㍿ ﷺ ﷽
𝕳𝖊𝖑𝖑𝖔 𝒲ℴ𝓇𝓁𝒹 𝟙𝟚𝟛|Ｆｕｌｌｗｉｄｔｈ　ｔｅｘｔ！（１２３）|ᵗⁱⁿʸ ʇxǝʇ uʍop ǝpısdn|Z̴̡̛a̷l̸g̶o̵ t̸̢e̷x̶t̵ H̵̛͕E̵ C̵O̵M̵E̵S̵|a\u0301e\u0301 e\u0301e\u0300 o\u0302\u0301 n\u0303 A\u030a \u1100\u1161\u11a8 \u0627\u0653
""".strip()

EMOJI = """😀 😃😄 hello👋world|👍🏻 👍🏼 👍🏽 👍🏾 👍🏿|👨‍👩‍👧‍👦 family|👩🏽‍💻 codes|🏳️‍🌈 and 🏴‍☠️|🇩🇪🇫🇷 🇬🇧|🏴󠁧󠁢󠁥󠁮󠁧󠁿 England|❤️ ❤ ♥️|1️⃣ 2️⃣ #️⃣ *️⃣|☎️☎︎
🧑‍🤝‍🧑🧑🏻‍🤝‍🧑🏿|🤷‍♀️ shrug|I ❤️ NY ☕️|🫠🫡🪿🩷 new|(╯°□°）╯︵ ┻━┻|¯\\_(ツ)_/¯|:-) ;-P <3 ^_^|→ ⇒ ↔ ∀x∈ℝ: ⌈x⌉ = −⌊−x⌋|♪♫ ★☆ ✓✗|░▒▓█ ┌─┐│"""

CODE = r"""int main(int argc, char **argv) { return argc > 1 ? atoi(argv[1]) : 0; }|for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
def f(x: int) -> str:\n\treturn f"{x!r:>{10}}"  # comment|SELECT * FROM t WHERE a->>'b' = $1 AND c @> '{"d": [1,2]}'::jsonb;
#include <stdio.h>|const λ = async ({a, ...b}) => await a?.b ?? `${b}`;|fn main() -> Result<(), Box<dyn Error>> { Ok(()) }|<div class="x" data-y='1'>&nbsp;</div>
git log --oneline -n 5 | grep -v '^[0-9a-f]\{7\}'|C:\Program Files\x86\*.dll|/usr/lib/x86_64-linux-gnu/libc.so.6|{"k": [1, 2.5e-10, null, true, "\u00e9"]}|0xDEADBEEF 0b1010 1_000_000 3.14159265358979
std::vector<std::pair<int,int>> v{{1,2},{3,4}};|camelCaseName snake_case_name SCREAMING_SNAKE kebab-case-name|e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855|$ rm -rf "${TMPDIR:-/tmp}"/*~ && echo $?
| a | b |\n|---|---|\n| 1 | 2 ||**bold** _it_ `code` [link](http://x.y) ~~del~~|\\frac{a}{b} \\sum_{i=0}^{n} x_i^2|Traceback (most recent call last):\n  File "x.py", line 1, in <module>|https://example.com/a/b?c=d&e=%20f#g
http://user:pw@[2001:db8::1]:8080/~x/;y=1|ftp://xn--mnchen-3ya.de/straße|www.bücher.example/käse?q=größe|mailto:a.b@c.d?subject=Hi%21|urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6|data:text/plain;base64,SGVsbG8=|git@host:o/r.git|10.0.0.1/24 fe80::1%eth0|2024-02-29T23:59:59.999+05:30"""

SPECIAL = ["", " ", "\t\n\r ", "\u00a0\u2003\u3000\u2028\u2029\u1680\u205f", "\u200b", "\ufeff", "\ufeffbom first", "\x00", "a\x00b", "a\x01b\x7fc\x80d\x9fe",
           "a\x0bb\x0cc\x1cd\x85e", "a\u00adb", "a\u200cb\u200dc\u2060d", "\u202eabc\u202c\u2066def\u2069", "\ufffd", "a\ufffdb", "\u0301", "\u0301\u0302 \u0303", "字\u0301字",
           "a\u0301\u0323b", "\ue000\uf8ff\U000f0000\U0010ffff", "\ufdd0\uffff\U0001fffe", "\U000e0001\U000e0061x", "\u0378\u0379", "\u166d\u1734a\u1734\U000111c9b",
           "[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]", "[cls]", "[CLS", "CLS]", "[[SEP]]", "a[SEP]b", "The [MASK] sat.", "[CLS][CLS]", "[SEP] ", "##ing", "a##b", "# # ##",
           "[unused1]", "[ SEP ]", "[SEP\u0301]", "caf\u00e9", "cafe\u0301", "CAFÉ", "İ I ı i", "ΑΣ", "a\u0345", "\u1e9e\u00df", "\ufb01x", "x\u20dd", "\u0e33\u0eb3",
           "\uac00\ud7a3\u1100\u1161", "\uf900\ufa0e\U0002f800\U0002a6df\U0002b81f\U0002b820\U0002b920\U0002ebf0\U00030000", "\u3005\u3006\u3007\u3041\u30fc", "\u037e\u0387\u1fef\u2126\u212a\u212b", "\u2329\u3008",
           "\u0f0b\u0f43\u0f73", "\u0958\u09dc\u0b5c", "\ua7cb\ua7dc\u1c89", "$+<=>^`|~ $a+b<c=d>e^f`g|h~i", "\u00a1\u00a7\u00b6\u00b7\u00bf\u2010\u2014\u2026\u2030\u203b", "\u302e\u302f\U0001d165\U0001d16e", "\u1df6\u07fd\u061d",
           "don't", "''", "a.b.c.", "...", "!?", "-", "_a_", "x" * 99, "x" * 100, "x" * 101, "x" * 1000, "é" * 100, "é" * 101, "e\u0301" * 100, "e\u0301" * 101, "가" * 33, "가" * 50, "가" * 51, "字" * 300,
           "a\u200d" * 100, "a\u200d" * 101, "internationalization" * 5, "internationalization" * 5 + "s", "w " + "z" * 150 + " w", "z" * 150 + "." + "z" * 50, "a" * 100 + "\u0301", "a" * 100 + "\ufffd" + "b"]

# The rules of hashes.txt. HOT and the ranges stand in wordpiece_test.c too.
HOT = ["a", "b", "A", "Z", "0", "9", " ", ".", ",", "#", "[", "]", "'", "\t", "\n", "\u0301", "\u0308", "\u200d", "\ufe0f", "\u5b57", "\uac00", "\u0130", "\u0131", "\u00df",
       "\u017f", "\u212a", "\u00c5", "\u01c6", "\u00bd", "\ufb01", "[CLS]", "[SEP]", "[MASK]", "[UNK]", "[PAD]", "##", "ing", "the", "un", "Hello", "world"]
# Planes 0, 1 and 14 whole; of the others the ends of what is treated alike.
BLOCKS = [(0, 0x20000), (0x20000, 0x20100), (0x2a600, 0x2bb00), (0x2ce00, 0x2d000), (0x2f800, 0x2fb00), (0x30000, 0x30100),
          (0xe0000, 0xe1000), (0xf0000, 0xf0100), (0x10ff00, 0x110000)]


def code_points():
    """Each at the beginning, between letters, and at the end; 256 to a group."""
    for low, high in BLOCKS:
        for block in range(low, high, 256):
            chars = [chr(c) for c in range(block, block + 256) if not 0xd800 <= c < 0xe000]
            yield "block", "%x" % block, [c + " a" + c + "b " + c for c in chars]


def ascii_pairs():
    for first in range(128):
        yield "pairs", str(first), [chr(first) + chr(c) for c in range(128)]


def random_texts():
    state = 1

    def draw(below):
        nonlocal state
        state ^= state >> 12
        state = (state ^ state << 25) & MASK64
        state ^= state >> 27
        return (state * 2685821657736338717 & MASK64) % below

    def item():
        kind = draw(100)
        if kind < 60:
            return HOT[draw(len(HOT))]
        c = draw(0x3000 if kind < 90 else 0x20000)
        return "a" if 0xd800 <= c < 0xe000 else chr(c)

    for group in range(128):
        yield "random", str(group), ["".join([item() for _ in range(1 + draw(40))]) for _ in range(32)]


def hash_of(lists):
    h = 0xcbf29ce484222325
    for ids in lists:
        for i in [len(ids)] + ids:
            h = (h ^ i) * 0x100000001b3 & MASK64
    return h


def languages():
    for name in babel.localedata.locale_identifiers():
        if "_" not in name:
            l = babel.Locale.parse(name)
            days, months = l.days["format"]["wide"], l.months["format"]["wide"]
            yield "%s: %s. %s" % (l.get_display_name(), ", ".join(days[k] for k in range(7)), " ".join(months[k] for k in (1, 2, 5, 8, 12)))


def combined(parts):
    """Longer texts for windows and chunks."""
    for n in (3, 7, 12, 20, 40, 80):
        yield " ".join(parts[:n])


def main():
    model = pathlib.Path(sys.argv[1])
    if (model / "vocab.txt").read_bytes() != (HERE / "vocab.txt").read_bytes():
        sys.exit("vocab.txt is not that of the model")
    t = Tokenizer.from_file(str(model / "tokenizer.json"))
    t.no_truncation()
    t.no_padding()
    people = [p for line in PEOPLE.split("\n") for p in line.split("|")]
    texts = SPECIAL + people + [p for block in (EMOJI, CODE) for line in block.split("\n") for p in line.split("|")] + list(languages())
    texts += list(combined(people))
    with open(HERE / "texts.jsonl", "w", encoding="utf-8", newline="\n") as out:
        for text, e in zip(texts, t.encode_batch(texts)):
            out.write(json.dumps([text] + e.ids, ensure_ascii=False, separators=(",", ":")) + "\n")
    with open(HERE / "hashes.txt", "w", encoding="ascii", newline="\n") as out:
        for rule in (code_points, ascii_pairs, random_texts):
            for family, name, group in rule():
                out.write("%s %s %016x\n" % (family, name, hash_of([e.ids for e in t.encode_batch(group)])))


main()
