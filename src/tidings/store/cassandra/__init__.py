"""The store on Apache Cassandra, or ScyllaDB, for many nodes on many machines.

`config` says where it is, `store` is the contract fulfilled. The driver, acsylla, is imported by
`driver` alone, so that whoever has another store need not have it.
"""
