//! Layers that would fill the disk, leave their directory, or name what is not theirs.

use std::path::Path;
use std::process::Command;

use crate::run;

/// What a layer is called, and a word of why it is refused.
pub const HOSTILE: [(&str, &str); 6] = [
    ("ratio", "times as large as sent"),
    ("sparse", "larger than"),
    ("deep", "deeper than"),
    ("long", "longer than"),
    ("dots", "invalid path in layer"),
    ("hard", "leaves the layer"),
];

/// Python's `tarfile` makes what GNU tar refuses to.
const LAYERS: &str = r"
import gzip, io, os, sys, tarfile
class Zeros:
    def read(self, n): return bytes(n)
def entry(t, name, kind=tarfile.REGTYPE, size=0, data=None, **more):
    i = tarfile.TarInfo(name); i.type = kind; i.size = size
    for k, v in more.items(): setattr(i, k, v)
    t.addfile(i, data if data is not None else (Zeros() if size else None))
def layer(name, write):
    g = gzip.open(os.path.join(sys.argv[1], name + '.tar.gz'), 'wb', compresslevel=1)
    t = tarfile.open(fileobj=g, mode='w|', format=tarfile.PAX_FORMAT)
    write(t); t.close(); g.close()
def sparse(t):
    # A terabyte of hole, in GNU's old way: the map says that there is nothing.
    i = tarfile.TarInfo('hole'); i.type = tarfile.GNUTYPE_SPARSE
    b = bytearray(i.tobuf(format=tarfile.GNU_FORMAT))
    b[483:495] = b'\x80' + (1 << 40).to_bytes(11, 'big')
    b[148:156] = b'        '
    b[148:156] = b'%06o\0 ' % sum(b)
    t.fileobj.write(bytes(b)); t.offset += 512
layer('ratio', lambda t: entry(t, 'bomb', size=2200 << 20))
layer('sparse', sparse)
layer('deep', lambda t: entry(t, 'd/' * 1500 + 'f'))
layer('long', lambda t: entry(t, 'n' * 5000))
layer('dots', lambda t: entry(t, '../../../../../../../../tmp/berth-escaped', size=1, data=io.BytesIO(b'x')))
layer('hard', lambda t: entry(t, 'h', tarfile.LNKTYPE, linkname='../../../../../../etc/hostname'))
";

/// Writes each of them as `<name>.tar.gz`.
pub fn layers(folder: &Path) {
    run(Command::new("python3").args(["-c", LAYERS]).arg(folder)).ok();
}
