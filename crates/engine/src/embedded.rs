//! The `hello-world` image that is part of the binary.
//!
//! A newcomer's first command must not need a registry, so the image is made here, from nothing: one program of a
//! few machine instructions that writes a greeting, one layer that holds it, one configuration. The bytes are the
//! same in every build for an architecture, so the image has the same digests everywhere.
//!
//! The engine adds the image to the store when a container is created from `hello-world[:latest]` and no local image
//! has that name: `store layer, store config, name it EmbeddedImage::reference`. The configuration lacks the layer's
//! diff id on purpose: [`EmbeddedImage::config`] takes it from whoever hashes layers.

/// The parts of an image that the engine can put into its store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedImage {
    /// The name under which the image is stored, normalised.
    pub reference: &'static str,
    /// The one layer: an uncompressed tar archive.
    pub layer: Vec<u8>,
    architecture: &'static str,
}

impl EmbeddedImage {
    /// The image configuration (JSON) for a layer whose diff id (`sha256:…`) is `diff_id`.
    pub fn config(&self, diff_id: &str) -> Vec<u8> {
        format!(
            concat!(
                r#"{{"architecture":"{}","config":{{"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"#,
                r#""Cmd":["/hello"],"WorkingDir":"/"}},"created":"2025-01-01T00:00:00Z","#,
                r#""history":[{{"created":"2025-01-01T00:00:00Z","created_by":"COPY hello / # embedded"}},"#,
                r#"{{"created":"2025-01-01T00:00:00Z","created_by":"CMD [\"/hello\"]","empty_layer":true}}],"#,
                r#""os":"linux","rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#
            ),
            self.architecture, diff_id
        )
        .into_bytes()
    }
}

/// The image for the architecture this binary was built for; `None` where we have no program for it.
pub fn hello_world() -> Option<EmbeddedImage> {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        _ => return None,
    };
    let program = program(architecture)?;
    Some(EmbeddedImage {
        reference: "docker.io/library/hello-world:latest",
        layer: layer(&program),
        architecture,
    })
}

/// What the program prints.
const GREETING: &str = "
Hello from Berth!
If you can read this, everything works: a container was made, ran and ended.

What happened on the way here:
 1. The command line asked the engine, over its socket, for a new container.
 2. The engine found the image \"hello-world\" inside its own binary, so nothing
    had to be downloaded, and unpacked its only layer.
 3. A small supervisor gave the container namespaces, limits and a root file
    system of its own, and started the program whose words you are reading.
 4. What the program wrote travelled back through the engine to your terminal.

Load or import an image of a whole system and look around inside it:
 $ docker run -it IMAGE sh

";

/// A whole ELF executable that writes [`GREETING`] to standard output and exits with 0, or 1 if it could not.
fn program(architecture: &str) -> Option<Vec<u8>> {
    let length = u32::try_from(GREETING.len()).ok()?;
    let (machine, code) = match architecture {
        "amd64" => (62_u16, code_amd64(length)),
        "arm64" => (183_u16, code_arm64(length)),
        _ => return None,
    };
    let size = (HEADERS + code.len() + GREETING.len()) as u64;
    let mut elf = Vec::with_capacity(HEADERS + code.len() + GREETING.len());
    // File header: 64 bits, little endian, System V, executable.
    elf.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    elf.extend_from_slice(&2_u16.to_le_bytes());
    elf.extend_from_slice(&machine.to_le_bytes());
    elf.extend_from_slice(&1_u32.to_le_bytes());
    elf.extend_from_slice(&(BASE + HEADERS as u64).to_le_bytes()); // entry
    elf.extend_from_slice(&64_u64.to_le_bytes()); // program headers follow this header
    elf.extend_from_slice(&0_u64.to_le_bytes()); // no sections
    elf.extend_from_slice(&0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 64, 0, 0] {
        elf.extend_from_slice(&half.to_le_bytes());
    }
    // One segment, readable and executable: the whole file.
    elf.extend_from_slice(&1_u32.to_le_bytes());
    elf.extend_from_slice(&5_u32.to_le_bytes());
    for word in [0, BASE, BASE, size, size, 0x1_0000] {
        elf.extend_from_slice(&word.to_le_bytes());
    }
    elf.extend_from_slice(&code);
    elf.extend_from_slice(GREETING.as_bytes());
    Some(elf)
}

/// The ELF header and one program header.
const HEADERS: usize = 64 + 56;
/// Where the file is mapped.
const BASE: u64 = 0x40_0000;

/// `write(1, text, length)`, then `exit(result <= 0)`; the text follows the code.
fn code_amd64(length: u32) -> Vec<u8> {
    let mut code = Vec::new();
    code.extend_from_slice(b"\xb8\x01\x00\x00\x00"); // mov eax, 1
    code.extend_from_slice(b"\xbf\x01\x00\x00\x00"); // mov edi, 1
    code.extend_from_slice(b"\x48\x8d\x35"); // lea rsi, [rip + distance to the text]
    code.extend_from_slice(&24_u32.to_le_bytes());
    code.push(0xba); // mov edx, length
    code.extend_from_slice(&length.to_le_bytes());
    code.extend_from_slice(b"\x0f\x05"); // syscall
    code.extend_from_slice(b"\x31\xff"); // xor edi, edi
    code.extend_from_slice(b"\x48\x85\xc0"); // test rax, rax
    code.extend_from_slice(b"\x40\x0f\x9e\xc7"); // setle dil
    code.extend_from_slice(b"\xb8\x3c\x00\x00\x00"); // mov eax, 60
    code.extend_from_slice(b"\x0f\x05"); // syscall
    code.push(0xf4); // hlt, never reached
    code
}

/// The same for aarch64.
fn code_arm64(length: u32) -> Vec<u8> {
    let movz = |register: u32, value: u32| 0xd280_0000_u32 | (value & 0xffff) << 5 | register;
    let words = [
        movz(8, 64),     // mov x8, #64 (write)
        movz(0, 1),      // mov x0, #1
        0x1000_0101,     // adr x1, #32: the text, eight instructions on
        movz(2, length), // mov x2, #length
        0xd400_0001,     // svc #0
        0xf100_001f,     // cmp x0, #0
        0x9a9f_c7e0,     // cset x0, le
        movz(8, 93),     // mov x8, #93 (exit)
        0xd400_0001,     // svc #0
        0xd420_0000,     // brk #0, never reached
    ];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A tar archive with the one file `hello`.
fn layer(program: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 512;
    let mut header = [0_u8; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"hello");
    put(100, b"0000755\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{:011o}\0", program.len()).as_bytes());
    put(136, format!("{:011o}\0", 1_735_689_600).as_bytes()); // 2025-01-01, as in the configuration
    put(148, b"        "); // the sum is taken over blanks here
    put(156, b"0");
    put(257, b"ustar\x0000");
    put(329, b"0000000\0");
    put(337, b"0000000\0");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());

    let mut tar = Vec::with_capacity(BLOCK * 4 + program.len());
    tar.extend_from_slice(&header);
    tar.extend_from_slice(program);
    tar.resize(tar.len().next_multiple_of(BLOCK) + 2 * BLOCK, 0); // padding, then the end mark
    tar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_runs_and_greets() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hello");
        std::fs::write(&path, program("amd64").unwrap()).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        if std::env::consts::ARCH == "x86_64" {
            // Another test that starts a process just now may hold the file open for writing, for a moment.
            let output = loop {
                match std::process::Command::new(&path).output() {
                    Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {}
                    output => break output.unwrap(),
                }
            };
            assert_eq!(String::from_utf8(output.stdout).unwrap(), GREETING);
            assert_eq!(output.status.code(), Some(0));
            let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
            assert_eq!(std::process::Command::new(&path).stdout(full).status().unwrap().code(), Some(1));
        }
        assert!(GREETING.contains("Hello from Berth!"));
    }

    #[test]
    fn the_text_follows_the_code_of_each_architecture() {
        for (architecture, code) in [("amd64", code_amd64(7)), ("arm64", code_arm64(7))] {
            let program = program(architecture).unwrap();
            assert!(program[HEADERS + code.len()..].starts_with(GREETING.as_bytes()));
        }
        // The distance in `lea` counts from the instruction after it (17 bytes in) to the end of the code.
        assert_eq!(code_amd64(7).len() - 17, 24);
        // `adr` is the third instruction: it must point past the last.
        assert_eq!(code_arm64(7).len() - 8, 32);
    }

    #[test]
    fn the_layer_is_what_gnu_tar_reads() {
        let program = program("amd64").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("layer.tar");
        std::fs::write(&path, layer(&program)).unwrap();
        let list =
            std::process::Command::new("tar").arg("-tvf").arg(&path).env("TZ", "UTC").output().unwrap();
        let list = String::from_utf8(list.stdout).unwrap();
        assert!(list.starts_with("-rwxr-xr-x 0/0"), "{list}");
        assert!(list.trim_end().ends_with("2025-01-01 00:00 hello"), "{list}");
        assert_eq!(layer(&program), layer(&program));
    }

    #[test]
    fn the_configuration_is_json_with_the_layer() {
        let image = hello_world().unwrap();
        let config: serde_json::Value = serde_json::from_slice(&image.config("sha256:abc")).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], "sha256:abc");
        assert_eq!(config["config"]["Cmd"][0], "/hello");
    }
}
