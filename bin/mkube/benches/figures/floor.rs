//! The floor: a server of the same framework that does nothing but answer. Nothing built on it is quicker.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};

/// What this program is called with to be the floor.
pub const WORD: &str = "--floor";
/// Bytes of an object, and of a list.
const SIZES: [usize; 2] = [1_400, 1_400_000];

/// Serves until it is killed, on one thread as the API does.
pub fn serve(listen: &str) -> anyhow::Result<()> {
    let [one, list] = SIZES.map(|size| Bytes::from(vec![b'x'; size]));
    let server = move || {
        let (one, list) = (one.clone(), list.clone());
        let json = |body: Bytes| async move { HttpResponse::Ok().content_type("application/json").body(body) };
        App::new()
            .route("/one", web::get().to(move || json(one.clone())))
            .route("/list", web::get().to(move || json(list.clone())))
            .route(
                "/idle",
                web::get().to(|| async {
                    let first = stream::once(async { Ok::<_, actix_web::Error>(Bytes::from_static(b"\n")) });
                    HttpResponse::Ok().content_type("application/json").streaming(first.chain(stream::pending()))
                }),
            )
    };
    let server = HttpServer::new(server).workers(1).max_connections(8192).bind(listen)?;
    Ok(actix_web::rt::System::new().block_on(server.run())?)
}

/// A floor in a process of its own; ended when dropped.
pub struct Floor(Child);

impl Floor {
    /// Starts one and waits until it answers.
    pub async fn start(listen: &str) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        let child = Command::new(program).args([WORD, listen]).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let floor = Self(child);
        while std::net::TcpStream::connect(listen).is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(floor)
    }

    /// Resident memory, KiB.
    pub fn resident(&self) -> f64 {
        crate::machine::resident_kib(self.0.id())
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
