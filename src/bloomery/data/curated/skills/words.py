"""The small world that skills speak of: few enough words that a tiny model meets each of them often."""

from __future__ import annotations

import random

ANIMALS = tuple(
    "ant bear bee bird cat cow crab deer dog duck eagle fish fox frog goat hen horse lion mouse owl pig rabbit seal "
    "sheep snake swan tiger whale wolf zebra".split()
)
FOODS = tuple(
    "apple banana bean bread butter cake carrot cheese cherry corn egg fig grape honey jam lemon melon milk nut olive "
    "onion orange peach pear pepper plum potato rice salt soup tea tomato".split()
)
OBJECTS = tuple(
    "bag ball basket bell book bottle bowl box brush bucket candle card chair clock coat coin cup drum flag flute fork "
    "hammer hat jar key knife ladder lamp letter map mirror needle pen pencil phone pillow plate ring rope shoe spoon "
    "stone table tent torch umbrella vase watch wheel".split()
)
NATURE = tuple(
    "beach cave cloud desert field fire forest hill island lake leaf moon mountain ocean rain river road rock sand sea "
    "sky snow star storm sun tree valley water wave wind wood".split()
)
WORDS = ANIMALS + FOODS + OBJECTS + NATURE
NAMES = tuple(
    "Adam Alice Anna Ben Clara David Emma Eric Eva Frank Grace Henry Ida Jack Jane John Julia Karl Laura Leo Lily Lucy "
    "Mara Mark Mary Max Mia Nina Noah Olga Oscar Paul Peter Rosa Ruth Sam Sara Simon Tom Vera".split()
)
PLACES = tuple(
    "attic barn bathroom bedroom cellar garage garden hall kitchen library office park school shop station "
    "street".split()
)
COLOURS = tuple("black blue brown green grey orange pink purple red white yellow".split())
MONTHS = tuple("January February March April May June July August September October November December".split())
MONTH_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
WEEKDAYS = tuple("Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split())
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")


def draw_words(rng: random.Random, low: int, high: int) -> list[str]:
    """Between `low` and `high` different words."""
    return rng.sample(WORDS, rng.randint(low, high))
