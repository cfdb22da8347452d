using Microsoft.EntityFrameworkCore;
using Microsoft.EntityFrameworkCore.Design;

namespace Rollcall.Storage;

/// <summary>Lets <c>dotnet ef</c> make migrations for SQLite; nothing is opened.</summary>
internal sealed class SqliteDesignTime : IDesignTimeDbContextFactory<SqliteRollcallContext>
{
    public SqliteRollcallContext CreateDbContext(string[] args) =>
        new(new DbContextOptionsBuilder<SqliteRollcallContext>().UseSqlite("Data Source=:memory:").Options);
}

/// <summary>Lets <c>dotnet ef</c> make migrations for PostgreSQL; nothing is opened.</summary>
internal sealed class PostgresDesignTime : IDesignTimeDbContextFactory<PostgresRollcallContext>
{
    public PostgresRollcallContext CreateDbContext(string[] args) =>
        new(new DbContextOptionsBuilder<PostgresRollcallContext>().UseNpgsql("Host=localhost").Options);
}
