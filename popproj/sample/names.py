"""Names for invented places: Japanese with their reading, so that both can be shown.

Every name is a stem and an ending, as most Japanese place names are. All characters are in cp932.
"""

from __future__ import annotations

import numpy as np

CITY = ("青凪市", "Aonagi City")

WARDS = {
    "西野区": "Nishino-ku",
    "汐見区": "Shiomi-ku",
    "西浜区": "Nishihama-ku",
    "緑丘区": "Midorioka-ku",
    "中央区": "Chuo-ku",
    "山手区": "Yamate-ku",
    "東浜区": "Higashihama-ku",
    "学園区": "Gakuen-ku",
    "東野区": "Higashino-ku",
}

SIDES = {"": "", "東": "Higashi-", "西": "Nishi-", "南": "Minami-", "北": "Kita-"}

# kind of district: stems, endings
_PARTS: dict[str, tuple[str, str]] = {
    "new_town": (
        "若葉 Wakaba,青葉 Aoba,松風 Matsukaze,美空 Misora,桐 Kiri,星見 Hoshimi,朝日 Asahi,"
        "希望 Kibo,白樺 Shirakaba,花見 Hanami,鈴蘭 Suzuran,泉 Izumi,月見 Tsukimi,富士見 Fujimi,"
        "桜 Sakura,椿 Tsubaki,雲雀 Hibari,百合 Yuri,楓 Kaede,光 Hikari,つつじ Tsutsuji,虹 Niji,"
        "紅葉 Momiji,橘 Tachibana",
        "台 dai,が丘 gaoka",
    ),
    "tower": (
        "栄 Sakae,幸 Saiwai,寿 Kotobuki,大黒 Daikoku,錦 Nishiki,弁天 Benten,相生 Aioi,旭 Asahi,"
        "常盤 Tokiwa,宝 Takara,扇 Ogi,恵比須 Ebisu,住吉 Sumiyoshi,松ケ枝 Matsugae,万代 Bandai",
        "町 machi,通 dori",
    ),
    "student": (
        "文 Fumi,梅 Ume,楠 Kusu,銀杏 Icho,柏 Kashiwa,鐘 Kane,塔 To,欅 Keyaki,筆 Fude,楷 Kai",
        "坂 zaka,ノ辻 notsuji",
    ),
    "harbour": (
        "船 Funa,網 Ami,磯 Iso,塩 Shio,千鳥 Chidori,鯛 Tai,渚 Nagisa,真砂 Masago,帆 Ho,碇 Ikari,"
        "波 Nami,白 Shira,和田 Wada",
        "浜 hama,浦 ura,岬 misaki",
    ),
    "suburb": (
        "高 Taka,藤 Fuji,竹 Take,榎 Enoki,赤 Aka,黒 Kuro,古 Furu,吉 Yoshi,桑 Kuwa,萩 Hagi,"
        "栗 Kuri,笹 Sasa,芦 Ashi,梶 Kaji,鶴 Tsuru,滝 Taki,岸 Kishi",
        "野 no,原 hara,川 kawa,井 i",
    ),
}


def district_names(kinds: np.ndarray, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Name and reading of each district, all different, in the style of its kind."""
    pools = {}
    for kind, (stems, endings) in _PARTS.items():
        pool = [
            tuple(a + b for a, b in zip(stem.split(), ending.split(), strict=True))
            for stem in stems.split(",")
            for ending in endings.split(",")
        ]
        pools[kind] = [pool[i] for i in rng.permutation(len(pool))]
    return [pools[kind].pop() for kind in kinds]
