using Rollcall.Tests.Infrastructure;

namespace Rollcall.Server.Tests.Pages;

/// <summary>A library that is connected, matched and synced once, on PostgreSQL.</summary>
public sealed class PostgresLibrary(PostgresCluster cluster) : SyncedLibrary
{
    protected override async Task<string?> ConnectionAsync() => await cluster.CreateDatabaseAsync();
}

/// <summary>A server that has just been installed, on PostgreSQL.</summary>
public sealed class PostgresEmptyLibrary(PostgresCluster cluster) : EmptyLibrary
{
    protected override async Task<string?> ConnectionAsync() => await cluster.CreateDatabaseAsync();
}

/// <summary>A library whose people sign in with ClassLink, on PostgreSQL.</summary>
public sealed class PostgresSignInLibrary(PostgresCluster cluster) : SignInLibrary
{
    protected override async Task<string?> ConnectionAsync() => await cluster.CreateDatabaseAsync();
}
