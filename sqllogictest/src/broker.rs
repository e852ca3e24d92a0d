//! A real Apache Kafka broker (KRaft, one node) as a child process, for tests and measurements.
//!
//! Its jars come from Maven Central and are kept under `target/`. The broker ends with the process that started it, and
//! its folder goes: a shell holds both for as long as its standard input is open.

use anyhow::{Context, Result, bail};
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// For a broker that starts soon and does little: its code is compiled once, and lightly.
const LIGHT: &str = "-Xmx384m -Xms64m -XX:+UseSerialGC -XX:TieredStopAtLevel=1";
/// For a broker that works for long, as those of clusters do.
const STEADY: &str = "-Xmx1g -Xms1g -XX:+UseSerialGC";

/// How long a broker may take to start.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running broker, ended when dropped.
pub struct Broker {
    process: Option<Child>,
    /// How its virtual machine is set up.
    machine: &'static str,
    folder: TempDir,
    jars: PathBuf,
    port: u16,
}

impl Broker {
    /// A broker without topics on a free port, for tests.
    pub fn start() -> Result<Broker> {
        Broker::start_on(LIGHT)
    }

    /// A broker without topics on a free port, for measurements.
    pub fn start_steady() -> Result<Broker> {
        Broker::start_on(STEADY)
    }

    fn start_on(machine: &'static str) -> Result<Broker> {
        let folder = tempfile::tempdir()?;
        let (port, controller) = (free_port()?, free_port()?);
        let jars = jars()?;
        let data = folder.path().join("data");
        let settings = format!(
            "process.roles=broker,controller\nnode.id=1\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\ncontroller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\nlog.dirs={}\n\
             offsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             transaction.state.log.num.partitions=1\ngroup.initial.rebalance.delay.ms=0\n\
             auto.create.topics.enable=false\nmessage.max.bytes=33554432\nlog.retention.check.interval.ms=1000\n",
            data.display()
        );
        fs::write(folder.path().join("server.properties"), settings)?;
        let mut broker = Broker { process: None, machine, folder, jars, port };
        let formatted = broker
            .java("kafka.tools.StorageTool", "format -t AAAAAAAAAAAAAAAAAAAAAQ -c")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .context("java cannot be started")?;
        if !formatted.success() {
            bail!("the broker's folder cannot be prepared");
        }
        broker.begin()?;
        Ok(broker)
    }

    /// Where clients find it.
    pub fn servers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends it as a crash does; what it has stays on disk.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // The shell ends the broker when it is told to, and when nobody is there any more that could tell it.
            if let Some(mut input) = process.stdin.take() {
                let _ = input.write_all(b"stop\n");
            }
            let _ = process.wait();
        }
    }

    /// Starts it again after a stop, on the same port.
    pub fn begin(&mut self) -> Result<()> {
        let log = fs::File::create(self.folder.path().join("broker.log"))?;
        let process = self
            .java("kafka.Kafka", "")
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("java cannot be started")?;
        self.process = Some(process);
        let begun = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            if begun.elapsed() > PATIENCE {
                bail!("the broker did not start: {}", self.log());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("broker.log")).unwrap_or_default()
    }

    fn java(&self, class: &str, arguments: &str) -> Command {
        let settings = self.folder.path().join("server.properties");
        let script = format!(
            "java {} -cp '{}/*' {class} {arguments} '{}' & \
             java=$!; trap 'kill -9 $java' EXIT; \
             if [ {class} = kafka.Kafka ]; then read -r _ || {{ kill -9 $java; wait $java; rm -rf '{}'; }}; \
             else wait $java; code=$?; trap - EXIT; exit $code; fi",
            self.machine,
            self.jars.display(),
            settings.display(),
            self.folder.path().display()
        );
        let mut command = Command::new("bash");
        command.args(["-c", &script]);
        command
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop();
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// The folder of the broker's jars; fetched when they are not there.
fn jars() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let jars = root.join("target/kafka");
    if jars.is_dir() {
        return Ok(jars);
    }
    let partial = root.join(format!("target/kafka.{}", std::process::id()));
    let fetched = Command::new("mvn")
        .args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", "-f"])
        .arg(root.join("clients/kafka/pom.xml"))
        .arg(format!("-DoutputDirectory={}", std::path::absolute(&partial)?.display()))
        .stdin(Stdio::null())
        .status()
        .context("mvn cannot be started; scripts/install.sh test installs it")?;
    if !fetched.success() {
        bail!("the broker's jars cannot be fetched");
    }
    // Two that fetch at once do the same; the later one finds the folder there.
    if fs::rename(&partial, &jars).is_err() && !jars.is_dir() {
        bail!("the broker's jars cannot be kept in {}", jars.display());
    }
    Ok(jars)
}
