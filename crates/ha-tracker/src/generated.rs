// placeholder until `cargo xtask codegen`
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct ReplicaDesc {
    #[prost(string, tag = "1")]
    pub replica: ::prost::alloc::string::String,
    #[prost(int64, tag = "2")]
    pub received_at: i64,
    #[prost(int64, tag = "3")]
    pub deleted_at: i64,
    #[prost(int64, tag = "4")]
    pub elected_at: i64,
    #[prost(int64, tag = "5")]
    pub elected_changes: i64,
}
