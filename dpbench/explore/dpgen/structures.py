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

    def use(
        self, params: Params, path: Path, name: str, *, every: bool = False
    ) -> list[str]:
        """Return the names of files that read as this one, converted if need be.

        Args:
            params: The input, for remarks.
            path: The file, or the folder of a system.
            name: Of the structure that it belongs to.
            every: Whether all its frames count, or the first alone.
        """
        if self.format in POSCAR and _is_told_by_name(path):
            return [relative(path, self.out)]
        try:
            texts = self._converted(path)
        except ConfigError as error:
            params.remark("missing", "sys_configs", str(error))
            return [relative(path, self.out)]
        names = []
        for text in texts if every else texts[:1]:
            names.append(f"{FOLDER}/{name}/{len(self.made):06d}.poscar")
            self.made[names[-1]] = text
        return names

    def _converted(self, path: Path) -> list[str]:
        """Convert by ASE what is a POSCAR of another name, else by dpdata."""
        from ase.io import read

        try:
            if self.format in POSCAR:
                frames: list[Any] = [read(path, format="vasp")]
            else:
                import dpdata

                system: Any = dpdata.System(
                    str(path), fmt=self.format, type_map=self.type_map
                )
                frames = system.to_ase_structure()
            return [_poscar(atoms) for atoms in frames]
        # Both programs raise whatever comes up in a file that is not what it should be.
        except Exception as error:
            raise ConfigError(
                f"{path}: cannot be read as '{self.format}' ({type(error).__name__}: "
                f"{error}). Convert it to a POSCAR, and correct the structure's files."
            ) from error


def _poscar(atoms: Any) -> str:
    from ase.io import write

    text = io.StringIO()
    write(text, atoms, format="vasp", direct=False)
    return text.getvalue()


def _is_told_by_name(path: Path) -> bool:
    """Tell whether ASE takes the file for a POSCAR."""
    from ase.io.formats import UnknownFileTypeError, filetype

    try:
        return bool(filetype(str(path)) == "vasp")
    except (UnknownFileTypeError, OSError):
        return False
