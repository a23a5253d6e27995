"""A licence as the Hub's cards name it.

The Hub refuses a card whose `license` is none of its own names, which are mostly SPDX's in small letters, with families
of licences under one name and some that SPDX does not have. Any other licence is `other`, with a name beside it.
"""

from __future__ import annotations

import re

HUB = frozenset(
    """
    afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0 bigscience-openrail-m bsd
    bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0
    cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0
    cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0
    creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 gemma gfdl gpl gpl-2.0
    gpl-3.0 isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr llama2 llama3 llama3.1 llama3.2 llama3.3 lppl-1.3c mit mpl-2.0 ms-pl
    ncsa odbl odc-by ofl-1.1 openrail openrail++ osl-3.0 pddl postgresql unknown unlicense wtfpl zlib
    """.split()
)
"""https://huggingface.co/docs/hub/repositories-licenses, without `other`."""
ALIASES: dict[str, str] = {
    r"apache-?2(\.0)?(-license)?|apache-license(-version)?-?2(\.0)?": "apache-2.0",
    r"mit-license": "mit",
    r"(odc-by|odbl|pddl|gfdl|c-uda)-[\d.]+(-only|-or-later)?": r"\1",
    r"cc-?0|cc-zero|cc0-1": "cc0-1.0",
    r"(a?gpl|lgpl)-([\d.]+)(-only|-or-later|\+)": r"\1-\2",
    r"gemma-(terms-of-use|license)": "gemma",
    r"(?:meta-)?llama-(2|3(?:\.[123])?)-community-licen[cs]e(?:-agreement)?": r"llama\1",
}
"""How else a licence of the list is written, in small letters with hyphens -> its name there; whole names only."""


def hub_licence(licence: str) -> dict[str, str]:
    """The keys of a card's front matter that name a licence: `license`, and `license_name` where the list lacks it."""
    name = re.sub(r"[\s_]+", "-", licence.strip().lower())
    for pattern, known in ALIASES.items():
        if found := re.fullmatch(pattern, name):
            name = found.expand(known)
            break
    if name in HUB:
        return {"license": name}
    plain = re.sub(r"[^a-z0-9.]+", "-", name).strip("-.")
    return {"license": "other", "license_name": plain} if plain else {"license": "unknown"}
