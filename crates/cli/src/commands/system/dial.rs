//! `system dial-stdio`: our standard streams as a connection to the engine, for clients on other machines.

use std::io::Write;

use berth_api::client::{HijackedReader, HijackedWriter};

use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::outcome::Outcome;
use crate::terminal::Input;

pub(crate) static COMMAND: Command<()> = Command {
    name: "dial-stdio",
    usage: "",
    about: "Connect standard input and output to the engine. Not meant to be called by hand",
    aliases: &[],
    arity: Arity::None,
    flags: &[],
    interspersed: true,
    run,
};

fn run(context: &Context, _: &Invocation<()>) -> Outcome {
    context.block_on(async {
        // An engine that is not there yet is started, as for any other command.
        let connection = context.client().await?.dial().await?;
        let (output, input) = (receive(connection.reader), send(connection.writer));
        tokio::pin!(output, input);
        tokio::select! {
            // The engine has said all that it will say.
            done = &mut output => done?,
            sent = &mut input => {
                sent?;
                output.await?;
            }
        }
        Ok(())
    })
}

async fn receive(mut reader: HijackedReader) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let size = reader.read(&mut buffer).await?;
        if size == 0 {
            return Ok(());
        }
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(&buffer[..size])?;
        stdout.flush()?;
    }
}

async fn send(mut writer: HijackedWriter) -> std::io::Result<()> {
    let mut input = Input::open();
    while let Some(piece) = input.next().await {
        writer.write_all(&piece).await?;
    }
    writer.shutdown().await
}
