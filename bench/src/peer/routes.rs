//! Many routes by name, as each proxy has them; the name that is asked for is the last of them.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::Make;

/// The routes beside the one to `a.example`, in the proxy's own words; all lead where nothing is to arrive.
pub(super) fn more(make: Make, routes: usize, directory: &Path) -> Result<String> {
    let Some(more) = routes.checked_sub(1).filter(|more| *more > 0) else {
        return Ok(String::new());
    };
    let names = (0..more).map(|number| format!("r{number:05}.example"));
    Ok(match make {
        Make::Refractium => names
            .map(|name| {
                format!(
                    "\n[[protocols]]\nname = \"https\"\nsni = \"{name}\"\n\
                     forward_to = \"127.0.0.1:{{{{other}}}}\"\n"
                )
            })
            .collect(),
        // "In order to maintain a large number of hosts, a map": configuration manual, 4.2, use_backend.
        Make::Haproxy | Make::HaproxySplice => {
            let lines = names.map(|name| format!("{name} tls_other\n"));
            let map: String = lines.chain(["a.example tls_a\n".to_owned()]).collect();
            let file = directory.join("routes.map");
            fs::write(&file, map)?;
            format!("    use_backend %[req.ssl_sni,lower,map({},tls_other)] if tls", file.display())
        }
        Make::Nginx => {
            names.map(|name| format!("        {name} 127.0.0.1:{{{{other}}}};\n")).collect()
        }
        Make::Sslh => String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_routes_as_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let refractium = more(Make::Refractium, 10, folder.path()).unwrap();
        assert_eq!(refractium.matches("sni = ").count(), 9);
        more(Make::Haproxy, 10, folder.path()).unwrap();
        let map = fs::read_to_string(folder.path().join("routes.map")).unwrap();
        assert_eq!(map.lines().count(), 10);
        assert_eq!(more(Make::Nginx, 1, folder.path()).unwrap(), "");
    }
}
