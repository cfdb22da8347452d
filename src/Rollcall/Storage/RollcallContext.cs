using Microsoft.AspNetCore.DataProtection.EntityFrameworkCore;
using Microsoft.EntityFrameworkCore;
using Microsoft.EntityFrameworkCore.Storage.ValueConversion;
using Rollcall.Audit;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Review;

namespace Rollcall.Storage;

/// <summary>The model of both databases. Names are snake_case, instants are UTC milliseconds, dates ISO text, keys compare by byte.</summary>
public abstract class RollcallContext(DbContextOptions options) : DbContext(options), IDataProtectionKeyContext
{
    public DbSet<District> Districts => Set<District>();
    public DbSet<DistrictTenant> DistrictTenants => Set<DistrictTenant>();
    public DbSet<InstallationSetting> InstallationSettings => Set<InstallationSetting>();
    public DbSet<Policy> Policies => Set<Policy>();
    public DbSet<Site> Sites => Set<Site>();
    public DbSet<SiteDefault> SiteDefaults => Set<SiteDefault>();
    public DbSet<SiteOrg> SiteOrgs => Set<SiteOrg>();
    public DbSet<Integration> Integrations => Set<Integration>();
    public DbSet<Patron> Patrons => Set<Patron>();
    public DbSet<PatronLink> PatronLinks => Set<PatronLink>();
    public DbSet<Operation> Operations => Set<Operation>();
    public DbSet<Change> Changes => Set<Change>();
    public DbSet<ReviewItem> ReviewItems => Set<ReviewItem>();
    public DbSet<SwitchRecord> SwitchRecords => Set<SwitchRecord>();
    public DbSet<AuditEntry> AuditEntries => Set<AuditEntry>();
    public DbSet<DataProtectionKey> DataProtectionKeys => Set<DataProtectionKey>();

    protected override void ConfigureConventions(ModelConfigurationBuilder configurationBuilder)
    {
        configurationBuilder.Properties<DateTimeOffset>().HaveConversion<InstantConverter>();
        configurationBuilder.Properties<DateOnly>().HaveConversion<DateConverter>();
    }

    protected override void OnModelCreating(ModelBuilder modelBuilder)
    {
        modelBuilder.Entity<District>(e =>
        {
            e.HasKey(d => d.Id);
            e.HasIndex(d => d.Code).IsUnique();
        });
        modelBuilder.Entity<DistrictTenant>(e =>
        {
            e.HasKey(t => t.TenantId);
            e.HasIndex(t => t.DistrictId);
        });
        modelBuilder.Entity<InstallationSetting>().HasKey(s => s.Key);
        modelBuilder.Entity<Policy>().HasKey(p => new { p.DistrictId, p.Code });
        modelBuilder.Entity<Site>(e =>
        {
            e.HasKey(s => new { s.DistrictId, s.Id });
            e.Property(s => s.Id).ValueGeneratedNever();
            e.HasIndex(s => new { s.DistrictId, s.Code }).IsUnique();
        });
        modelBuilder
            .Entity<SiteDefault>()
            .HasKey(s => new
            {
                s.DistrictId,
                s.SiteId,
                s.RoleGroup,
            });
        modelBuilder
            .Entity<SiteOrg>()
            .HasKey(s => new
            {
                s.DistrictId,
                s.Kind,
                s.OrgId,
            });
        modelBuilder.Entity<Integration>().HasKey(i => new { i.DistrictId, i.Kind });
        modelBuilder.Entity<SwitchRecord>().HasKey(r => new { r.DistrictId, r.OperationId });
        modelBuilder.Entity<Patron>(e =>
        {
            e.HasKey(p => new { p.DistrictId, p.Id });
            e.Property(p => p.Id).ValueGeneratedNever();
            e.Ignore(p => p.DisplayName);
            e.Property(p => p.Version).IsConcurrencyToken();
            e.HasIndex(p => new { p.DistrictId, p.BarcodeKey }).IsUnique();
            e.HasIndex(p => new { p.DistrictId, p.Guid }).IsUnique().HasFilter("guid is not null");
            e.HasIndex(p => new
            {
                p.DistrictId,
                p.NameKey,
                p.Id,
            });
            e.HasIndex(p => new
            {
                p.DistrictId,
                p.SiteId,
                p.Status,
            });
        });
        modelBuilder.Entity<PatronLink>(e =>
        {
            e.HasKey(l => new { l.DistrictId, l.PatronId });
            e.Property(l => l.PatronId).ValueGeneratedNever();
        });
        modelBuilder.Entity<Operation>(e =>
        {
            e.HasKey(o => o.Id);
            e.Property(o => o.Id).ValueGeneratedOnAdd();
            e.HasIndex(o => new { o.DistrictId, o.Id });
            e.HasIndex(o => o.Status);
            // Once a day, however many nodes look at the clock.
            e.HasIndex(o => new { o.DistrictId, o.DailyDate }).IsUnique().HasFilter("daily_date is not null");
            // Never two running operations of one district, whoever claims them.
            e.HasIndex(o => o.DistrictId, "running").IsUnique().HasFilter($"status = {(int)OperationStatus.Running}");
        });
        modelBuilder.Entity<Change>(e =>
        {
            e.HasKey(c => new
            {
                c.DistrictId,
                c.OperationId,
                c.Number,
            });
            e.Property(c => c.Number).ValueGeneratedNever();
            e.HasIndex(c => new
            {
                c.DistrictId,
                c.PatronId,
                c.OperationId,
                c.Number,
            });
        });
        modelBuilder.Entity<ReviewItem>(e =>
        {
            e.HasKey(r => new { r.DistrictId, r.Id });
            e.Property(r => r.Id).ValueGeneratedNever();
            e.HasIndex(r => new { r.DistrictId, r.RosterId }).IsUnique();
        });
        modelBuilder.Entity<AuditEntry>(e =>
        {
            e.HasKey(a => a.Id);
            e.Property(a => a.Id).ValueGeneratedOnAdd();
            e.HasIndex(a => new { a.DistrictId, a.Id });
        });

        foreach (var entity in modelBuilder.Model.GetEntityTypes())
        {
            entity.SetTableName(Snake(entity.GetTableName()!));
            foreach (var property in entity.GetProperties())
            {
                property.SetColumnName(Snake(property.Name));
                if (
                    Database.IsNpgsql()
                    && (property.ClrType == typeof(string) || property.ClrType == typeof(DateOnly) || property.ClrType == typeof(DateOnly?))
                )
                {
                    // SQLite compares bytes; PostgreSQL has to be told to.
                    property.SetCollation("C");
                }
            }

            foreach (var index in entity.GetIndexes())
            {
                index.SetDatabaseName(
                    Snake($"ix_{entity.GetTableName()}_{index.Name ?? string.Join('_', index.Properties.Select(p => p.Name))}")
                );
            }
        }
    }

    internal static string Snake(string name)
    {
        var builder = new System.Text.StringBuilder(name.Length + 8);
        for (var i = 0; i < name.Length; i++)
        {
            if (char.IsAsciiLetterUpper(name[i]) && i > 0 && name[i - 1] != '_' && !char.IsAsciiLetterUpper(name[i - 1]))
            {
                builder.Append('_');
            }

            builder.Append(char.ToLowerInvariant(name[i]));
        }

        return builder.ToString();
    }

    private sealed class InstantConverter()
        : ValueConverter<DateTimeOffset, long>(v => v.ToUnixTimeMilliseconds(), v => DateTimeOffset.FromUnixTimeMilliseconds(v));

    private sealed class DateConverter()
        : ValueConverter<DateOnly, string>(
            v => v.ToString("yyyy-MM-dd", System.Globalization.CultureInfo.InvariantCulture),
            v => DateOnly.ParseExact(v, "yyyy-MM-dd", System.Globalization.CultureInfo.InvariantCulture)
        );
}

/// <summary>The model on SQLite.</summary>
public sealed class SqliteRollcallContext(DbContextOptions<SqliteRollcallContext> options) : RollcallContext(options);

/// <summary>The model on PostgreSQL.</summary>
public sealed class PostgresRollcallContext(DbContextOptions<PostgresRollcallContext> options) : RollcallContext(options);
