"""Structure files of DP-GEN: named where they lie, or converted."""

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from dpbench.errors import ConfigError
from dpbench.explore.dpgen.params import Params
from dpbench.explore.dpgen.training import relative

FOLDER = "structures"
"""Where converted files go, beside the configuration."""

POSCAR = ("vasp/poscar", "poscar", "vasp/contcar")
"""Formats of ``sys_format`` that are read as they are."""


@final
@dataclass(kw_only=True, slots=True)
class StructureFiles:
    """Structure files of one run; gathers what is to be written."""

    out: Path
    """Folder of the configuration."""
    format: str
    """``sys_format``: one of dpdata's."""
    type_map: list[str]
    """Elements, for formats that number them."""
    made: dict[str, str] = field(default_factory=dict)
    """Content of converted files, by path from the configuration."""

    def unread(self, path: Path) -> str:
        """Name a file that does not exist here."""
        return relative(path, self.out)

    def use(self, params: Params, path: Path, name: str) -> str:
        """Return the name of a file that reads as this one, converted if need be.

        Args:
            params: The input, for remarks.
            path: The file.
            name: Of the structure that it belongs to.
        """
        if self.format in POSCAR and _is_told_by_name(path):
            return relative(path, self.out)
        target = f"{FOLDER}/{name}/{len(self.made):06d}.poscar"
        try:
            self.made[target] = self._converted(path)
        except ConfigError as error:
            params.remark("missing", "sys_configs", str(error))
            return relative(path, self.out)
        return target

    def _converted(self, path: Path) -> str:
        """Convert by ASE what is a POSCAR of another name, else by dpdata."""
        from ase.io import read, write

        text = io.StringIO()
        try:
            if self.format in POSCAR:
                atoms: Any = read(path, format="vasp")
            else:
                import dpdata

                system: Any = dpdata.System(
                    str(path), fmt=self.format, type_map=self.type_map
                )
                atoms = system.to_ase_structure()[0]
            write(text, atoms, format="vasp", direct=False)
        # Both programs raise whatever comes up in a file that is not what it should be.
        except Exception as error:
            raise ConfigError(
                f"{path}: cannot be read as '{self.format}' ({type(error).__name__}: "
                f"{error}). Convert it to a POSCAR, and correct the structure's files."
            ) from error
        return text.getvalue()


def _is_told_by_name(path: Path) -> bool:
    """Tell whether ASE takes the file for a POSCAR."""
    from ase.io.formats import UnknownFileTypeError, filetype

    try:
        return bool(filetype(str(path)) == "vasp")
    except (UnknownFileTypeError, OSError):
        return False
