using Rollcall.Tests.Infrastructure;

[assembly: AssemblyFixture(typeof(PostgresCluster))]
