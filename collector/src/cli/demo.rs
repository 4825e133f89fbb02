//! `demo`
use crate::config::Config;
use clap::Args;
#[derive(Args)]
pub(super) struct DemoArgs {}
pub(super) async fn run(_: DemoArgs, _: Config, _: bool) -> anyhow::Result<()> {
    anyhow::bail!("later")
}
