//! Packs what `/docs` is made of: two files of Swagger UI and its licence, out of the archive that a
//! crate carries. The rest of that archive stays out of the program.

use std::io::{self, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::ZipArchive;

/// Where the files are in the archive, below its one directory.
const FILES: [&str; 4] = ["dist/swagger-ui-bundle.js", "dist/swagger-ui.css", "LICENSE", "NOTICE"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let out = std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    let mut archive = ZipArchive::new(io::Cursor::new(SWAGGER_UI_VENDORED))?;
    let directory = archive.by_index(0)?.name()?.split('/').next().unwrap_or_default().to_owned();
    for file in FILES {
        let name = file.rsplit('/').next().unwrap_or(file);
        let target = std::fs::File::create(Path::new(&out).join(format!("{name}.gz")))?;
        let mut packed = GzEncoder::new(target, Compression::best());
        io::copy(&mut archive.by_name(&format!("{directory}/{file}"))?, &mut packed)?;
        packed.finish()?.flush()?;
    }
    Ok(())
}
