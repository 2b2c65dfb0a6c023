//! `farm permissions`: what each part of a farm may do on NATS, for whoever runs the server.

use std::fmt::Write;
use std::process::ExitCode;
use std::str::FromStr;

use clap::ValueEnum;
use farm_core::permissions::Permissions;
use farm_core::topology::Topology;
use farm_core::{FarmName, Roles};
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{print_json, print_line};

/// Arguments of `farm permissions`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  farm permissions --farm thumbnails > farm-users.conf
  farm permissions --farm thumbnails --role worker --user thumbnails-worker
  farm permissions --farm a --farm b --role autoscaler --format nsc

Without --role it prints a user each for setup, emitter, worker and collector of every farm, and
one autoscaler for all of them. Passwords are variables that the server takes from its environment.
A function with several roles needs their union: --role emitter,collector.")]
pub struct Args {
    /// The farm; several for an autoscaler
    #[arg(long = "farm", required = true)]
    farms: Vec<FarmName>,
    /// emitter, worker, collector, several joined by commas, setup, or autoscaler
    #[arg(long = "role")]
    roles: Vec<Part>,
    /// Name of the user, if one is printed
    #[arg(long)]
    user: Option<String>,
    /// What to print
    #[arg(long, value_enum, default_value = "server")]
    format: Format,
    /// Print JSON, a user a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A block of a NATS server's configuration file
    Server,
    /// Commands of nsc
    Nsc,
}

/// Who connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Function(Roles),
    Autoscaler,
}

impl FromStr for Part {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        if word == "autoscaler" {
            return Ok(Part::Autoscaler);
        }
        let roles: Result<Roles, _> = word.parse();
        roles
            .map(Part::Function)
            .map_err(|error| format!("{error}; or autoscaler"))
    }
}

#[derive(Debug, Serialize)]
struct User {
    user: String,
    #[serde(flatten)]
    permissions: Permissions,
}

/// Prints the permissions.
///
/// # Errors
/// `--user` for several users, or standard output is closed.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut users = users(&args.farms, &args.roles).map_err(Failure::Usage)?;
    if let Some(name) = &args.user {
        match users.as_mut_slice() {
            [user] => name.clone_into(&mut user.user),
            _ => {
                let cause = "--user names one user: give one --farm and one --role";
                return Err(Failure::Usage(cause.to_owned()));
            }
        }
    }
    match (args.json, args.format) {
        (true, _) => users.iter().try_for_each(print_json)?,
        (false, Format::Server) => print_line(server(&users).trim_end())?,
        (false, Format::Nsc) => users
            .iter()
            .map(nsc)
            .try_for_each(|line| print_line(&line))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn users(farms: &[FarmName], parts: &[Part]) -> Result<Vec<User>, String> {
    let parts = match parts {
        [] => {
            let words = ["setup", "emitter", "worker", "collector", "autoscaler"];
            words.iter().map(|word| word.parse()).collect()
        }
        parts => Ok(parts.to_vec()),
    };
    let topologies: Vec<_> = farms.iter().cloned().map(Topology::new).collect();
    let mut users = Vec::new();
    for part in parts? {
        match part {
            Part::Autoscaler => users.push(User {
                user: "farm-autoscaler".to_owned(),
                permissions: Permissions::of_autoscaler(&topologies),
            }),
            Part::Function(roles) => users.extend(topologies.iter().map(|farm| User {
                user: format!(
                    "farm-{}-{}",
                    farm.farm(),
                    roles.to_string().replace(',', "-")
                ),
                permissions: Permissions::of(farm, roles),
            })),
        }
    }
    Ok(users)
}

/// The variable that holds a user's password.
fn password_variable(user: &str) -> String {
    let name: String = user
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        })
        .collect();
    format!("{name}_PASSWORD")
}

fn server(users: &[User]) -> String {
    let mut text = String::from("authorization {\n  users = [\n");
    for User { user, permissions } in users {
        let password = password_variable(user);
        // Writing into a String cannot fail.
        let _ = writeln!(text, "    {{\n      user: {user:?}, password: ${password}");
        text.push_str("      permissions: {\n");
        let lists = [
            ("publish", &permissions.publish),
            ("subscribe", &permissions.subscribe),
        ];
        for (action, subjects) in lists {
            let _ = writeln!(text, "        {action}: {{ allow: [");
            for subject in subjects {
                let _ = writeln!(text, "          {subject:?}");
            }
            text.push_str("        ] }\n");
        }
        text.push_str("        allow_responses: false\n      }\n    }\n");
    }
    text.push_str("  ]\n}\n");
    text
}

fn nsc(user: &User) -> String {
    let User { user, permissions } = user;
    let list = |subjects: &std::collections::BTreeSet<String>| {
        let subjects: Vec<_> = subjects.iter().map(String::as_str).collect();
        subjects.join(",")
    };
    // Single quotes: the shell would read $JS as a variable.
    format!(
        "nsc add user --name '{user}' --allow-pub '{}' --allow-sub '{}'",
        list(&permissions.publish),
        list(&permissions.subscribe)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn farm(name: &str) -> FarmName {
        FarmName::new(name).unwrap()
    }

    #[test]
    fn a_farm_has_five_users() {
        let users = users(&[farm("a-b")], &[]).unwrap();
        let names: Vec<_> = users.iter().map(|user| user.user.as_str()).collect();
        let roles = ["setup", "emitter", "worker", "collector"];
        let expected = roles.map(|role| format!("farm-a-b-{role}"));
        assert_eq!(names[..4], expected);
        assert_eq!(names[4], "farm-autoscaler");
    }

    #[test]
    fn passwords_are_variables() {
        let text = server(&users(&[farm("a-b")], &[]).unwrap());
        assert!(
            text.contains("password: $FARM_A_B_WORKER_PASSWORD\n"),
            "{text}"
        );
        assert_eq!(text.matches('{').count(), text.matches('}').count());
    }

    #[test]
    fn nsc_gets_its_subjects_quoted() {
        let parts = ["worker".parse().unwrap()];
        let line = nsc(&users(&[farm("a")], &parts).unwrap()[0]);
        assert!(
            line.contains("--allow-pub '$JS.ACK.farm-a-tasks.workers.>,"),
            "{line}"
        );
        assert!("emitter,collector".parse::<Part>().is_ok());
        assert!("boss".parse::<Part>().is_err());
    }
}
