//! What the engine keeps on a deployment, so that a successor finds it: its tables by name, the checkpoint, the fence.

pub mod artifact;
pub mod checkpoint;
pub mod fence;
