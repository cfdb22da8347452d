using Microsoft.EntityFrameworkCore;

namespace Rollcall.Storage;

/// <summary>Settings of the whole installation.</summary>
internal static class InstallationSettings
{
    /// <summary>Stores a value in place of the one before, at once, in the context's transaction if there is one. In one statement: of two
    /// who store a key's first value at the same moment, neither finds the other in the way.</summary>
    public static Task PutAsync(RollcallContext context, string key, string value, CancellationToken cancellationToken) =>
        context.Database.ExecuteSqlAsync(
            $"INSERT INTO installation_settings (key, value) VALUES ({key}, {value}) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            cancellationToken
        );
}
