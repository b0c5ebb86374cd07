"""The dataset card (``README.md``) and Croissant metadata of a Parquet export.

Source: Hugging Face hub documentation, "Dataset cards"; Croissant format 1.1,
https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html.
"""

import json
import re
from pathlib import Path
from typing import Any

from dpbench.io.exchange.sidecar import Sidecar
from dpbench.io.writers.parquet_columns import COLUMNS, Column, split_name

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"))
_LARGER = ((1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"))


def write_hub_files(folder: Path, sidecar: Sidecar) -> None:
    """Write both files into the folder of an export."""
    (folder / "README.md").write_text(readme(sidecar), encoding="utf-8")
    text = json.dumps(croissant(sidecar), indent=2, ensure_ascii=False)
    (folder / "croissant.json").write_text(text + "\n", encoding="utf-8")


def readme(sidecar: Sidecar) -> str:
    """Word the dataset card: YAML header and Markdown."""
    split = split_name(sidecar.part)
    licences = [card.licence for card in sidecar.cards]
    header: list[str] = ["---"]
    if len(set(licences)) == 1 and re.fullmatch(r"[A-Za-z0-9.-]+", licences[0]):
        header.append(f"license: {licences[0].lower()}")
    else:
        header.append("license: other" if licences else "license: unknown")
        if licences:
            header.append(f"license_name: {_quoted(' and '.join(licences))}")
    header += [
        f"pretty_name: {_quoted(_title(sidecar))}",
        "tags:",
        "- chemistry",
        "- physics",
        "- interatomic-potentials",
        "size_categories:",
        f"- {_quoted(_size(sidecar.n_frames))}",
        "configs:",
        "- config_name: default",
        "  data_files:",
        f"  - split: {split}",
        f"    path: data/{split}-*.parquet",
        "---",
    ]
    return "\n".join([*header, "", *_body(sidecar), ""])


def croissant(sidecar: Sidecar) -> dict[str, Any]:
    """Return the Croissant metadata: every file with its sha256, every column."""
    files = [name for name in sidecar.files if name.endswith(".parquet")]
    licences = [_licence_url(card.licence) for card in sidecar.cards]
    facts: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": re.sub(r"[^A-Za-z0-9_-]", "-", _title(sidecar))[:100],
        "alternateName": sidecar.dataset,
        "description": _description(sidecar),
        "version": _number(sidecar),
        "datePublished": sidecar.created_at,
        "identifier": sidecar.digest,
    }
    if licences:
        facts["license"] = licences[0] if len(licences) == 1 else licences
    if sidecar.cards:
        facts["citeAs"] = "\n\n".join(card.citation for card in sidecar.cards)
        authors = [name for card in sidecar.cards for name in card.authors]
        if authors:
            facts["creator"] = [{"@type": "sc:Person", "name": n} for n in authors]
        urls = [card.url for card in sidecar.cards if card.url]
        if urls:
            facts["url"] = urls[0]
    facts["distribution"] = [
        {
            "@type": "cr:FileObject",
            "@id": name,
            "name": name,
            "contentUrl": name,
            "contentSize": f"{sidecar.files[name].bytes} B",
            "encodingFormat": "application/x-parquet",
            "sha256": sidecar.files[name].sha256,
        }
        for name in files
    ]
    facts["recordSet"] = [
        _record_set(name, "frames" if len(files) == 1 else f"frames-{i}", sidecar)
        for i, name in enumerate(files)
    ]
    return facts


def _record_set(file: str, name: str, sidecar: Sidecar) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": f"Labelled structures of {sidecar.dataset}, one a record.",
        "field": [
            _field(f"{name}/{key}", key, column, file)
            for key, column in COLUMNS.items()
        ],
    }


def _field(identity: str, key: str, column: Column, file: str) -> dict[str, Any]:
    field: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": identity,
        "name": identity,
        "description": column.description,
        "dataType": column.data_type,
        "source": {"fileObject": {"@id": file}, "extract": {"column": key}},
    }
    if column.shape:
        field["isArray"] = True
        field["arrayShape"] = ",".join(map(str, column.shape))
    return field


def _body(sidecar: Sidecar) -> list[str]:
    lines = [f"# {_title(sidecar)}", "", _description(sidecar), "", "## Columns", ""]
    lines += ["| column | meaning |", "| --- | --- |"]
    lines += [f"| `{name}` | {c.description} |" for name, c in COLUMNS.items()]
    lines += ["", "## Level of theory", ""]
    for key, theory in sidecar.theories.items():
        told = {k: v for k, v in theory.items() if v not in (None, {}, [])}
        text = json.dumps(told, indent=1, ensure_ascii=False)
        lines += [f"`{key[:12]}`", "", "```json", text, "```", ""]
    if sidecar.mixed_theory:
        lines += ["**These levels contradict each other;** see `dpbench.json`.", ""]
    lines += ["## Licence and citation", ""]
    for card in sidecar.cards:
        lines += [f"- {card.title}: {card.licence}. {card.citation}"]
    if not sidecar.cards:
        lines.append("None was declared.")
    lines += [
        "",
        "## Provenance",
        "",
        f"Exported by dpbench {sidecar.dpbench_version} from `{sidecar.dataset}`, "
        f"digest `{sidecar.digest}`. `dpbench.json` lists the source files with their "
        "sha256. Not held by this export:",
        "",
        *(f"- {note}" for note in sidecar.not_held),
    ]
    return lines


def _title(sidecar: Sidecar) -> str:
    titles = [card.title for card in sidecar.cards]
    return " + ".join(titles) or sidecar.dataset


def _description(sidecar: Sidecar) -> str:
    told = [card.description.strip() for card in sidecar.cards if card.description]
    facts = (
        f"{sidecar.n_frames} labelled structures ({sidecar.n_atoms} atoms) of "
        f"{', '.join(sidecar.elements)}: energies, forces and, where given, virials "
        "of electronic structure calculations."
    )
    return "\n\n".join([*told, facts])


def _number(sidecar: Sidecar) -> str:
    return f"{sidecar.dataset.rpartition('-v')[2]}.0.0"


def _size(count: int) -> str:
    return next((name for most, name in (*_SIZES, *_LARGER) if count < most), "n>10M")


def _quoted(text: str) -> str:
    """Quote for YAML: a JSON string is one."""
    return json.dumps(text, ensure_ascii=False)


def _licence_url(licence: str) -> str:
    is_listed = re.fullmatch(r"[A-Za-z0-9.+-]+", licence) and "Ref-" not in licence
    return f"https://spdx.org/licenses/{licence}.html" if is_listed else licence


CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The JSON-LD context that Croissant prescribes."""
