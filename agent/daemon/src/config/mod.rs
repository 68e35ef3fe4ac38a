//! The configuration file.
//!
//! | room | what stands there |
//! |---|---|
//! | [`raw`] | the file as it is written: strict, every key with its default |
//! | [`checked`] | what it means, after every bound was checked |
//! | [`broker_url`] | `mqtt://host:port` |
//! | [`example`] | the complete commented file that equals the defaults |

pub mod broker_url;
pub mod checked;
pub mod example;
pub mod raw;

pub use checked::{Config, HubSettings, MqttSettings, UplinkSettings, UplinkWindow};
