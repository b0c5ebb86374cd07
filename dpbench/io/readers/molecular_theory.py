"""Level of theory of Gaussian, ORCA and Psi4, as far as they print it plainly.

Restricted or not follows the multiplicity there, which is a fact of the frame: these
codes tell no ``spin``. A correlated method on top of the SCF is left out, functional
and all: the energy is not the one whose name is printed.
"""

import re

from dpbench.io.readers.tables import to_float
from dpbench.io.readers.told_theory import Told, one_basis

_GRIMME = {
    "Grimme-D2": "DFT-D2",
    "Grimme-D3": "DFT-D3(zero)",
    "Grimme-D3(BJ)": "DFT-D3(BJ)",
}


def gaussian(text: str, elements: tuple[str, ...]) -> Told:
    """Scan an output of Gaussian."""
    scf = re.search(r"^ SCF Done:\s+E\((?:RO|R|U)?([^)\s]+)\)", text, re.M)
    is_correlated = re.search(r"^ E2 = |^ (?:DE\(Corr\)|E\(CORR\))", text, re.M)
    basis = re.search(r"^ Standard basis:\s+(\S+)", text, re.M)
    dispersion = re.search(r"R6Disp:\s+(\S+) Dispersion energy", text)
    electrons = re.search(
        r"^ Charge\s*=\s*(-?\d+)\s+Multiplicity\s*=\s*(\d+)", text, re.M
    )
    name = dispersion[1] if dispersion else ""
    return Told(
        theory={
            "functional": scf[1] if scf and not is_correlated else None,
            "dispersion": _GRIMME.get(name, name) or ("none" if scf else None),
            "basis": one_basis(basis[1] if basis else None, elements),
        },
        charge=float(electrons[1]) if electrons else None,
        multiplicity=int(electrons[2]) if electrons else None,
    )


def orca(text: str, elements: tuple[str, ...]) -> Told:
    """Scan an output of ORCA."""
    basis = re.search(r"Your calculation utilizes the basis:\s*(\S+)", text)
    charge = re.search(r"^ Total Charge\s+Charge\s+\.{4}\s+(-?\d+)", text, re.M)
    spin = re.search(r"^ Multiplicity\s+Mult\s+\.{4}\s+(\d+)", text, re.M)
    return Told(
        theory={
            "functional": _orca_functional(text),
            "dispersion": _orca_dispersion(text),
            "basis": one_basis(basis[1] if basis else None, elements),
        },
        charge=float(charge[1]) if charge else None,
        multiplicity=int(spin[1]) if spin else None,
    )


def _orca_functional(text: str) -> str | None:
    """Join exchange, correlation and the share of exact exchange, as ORCA prints."""
    if re.search(r"^ORCA\s+(?:MP2|MDCI|AUTOCI|CASSCF)", text.replace("  ", ""), re.M):
        return None
    if "Ab initio Hamiltonian  Method" in text:
        return "HF"

    def value(label: str) -> str | None:
        found = re.search(rf"^\s+{label}\s+\.{{4}}\s+(\S+)", text, re.M)
        return found[1] if found else None

    exchange = value("Exchange Functional    Exchange")
    correlation = value("Correlation Functional Correlation")
    if exchange is None or correlation is None:
        return None
    names = [exchange, correlation]
    local = value(r"LDA part of GGA corr\.  LDAOpt")
    names += [local] if local else []
    exact = value("Fraction HF Exchange ScalHFX")
    names += [f"HFX {to_float(exact):g}"] if exact else []
    return "+".join(names)


def _orca_dispersion(text: str) -> str:
    at = text.find("DFT DISPERSION CORRECTION")
    if at < 0:
        return "none"
    section = text[at : at + 3000]
    if "DFTD4" in section or "DFT-D4" in section:
        return "DFT-D4"
    if "Becke-Johnson" in section:
        return "DFT-D3(BJ)"
    return "DFT-D3" if "DFTD3" in section else "unnamed"


def psi4(text: str, elements: tuple[str, ...]) -> Told:
    """Scan an output of Psi4."""
    functional = re.search(r"=> Composite Functional:\s+(\S+)\s+<=", text)
    basis = re.search(r"==> Primary Basis <==\s+Basis Set:\s+(\S+)", text)
    dispersion = re.search(r"Empirical Dispersion Energy =\s+(-?[\d.]+)", text)
    electrons = re.search(r"charge = (-?\d+), multiplicity = (\d+)", text)
    has_correction = dispersion is not None and to_float(dispersion[1]) != 0.0
    return Told(
        theory={
            "functional": functional[1] if functional else None,
            "dispersion": None
            if dispersion is None
            else ("unnamed" if has_correction else "none"),
            "basis": one_basis(basis[1] if basis else None, elements),
        },
        charge=float(electrons[1]) if electrons else None,
        multiplicity=int(electrons[2]) if electrons else None,
    )
