using Microsoft.AspNetCore.DataProtection;
using Microsoft.AspNetCore.DataProtection.KeyManagement;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Options;
using Rollcall.Audit;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.OneRoster;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Patrons.Erasure;
using Rollcall.Retention;
using Rollcall.Review;
using Rollcall.SignIn;
using Rollcall.Storage;
using Rollcall.Sync;
using Rollcall.Sync.Person;
using Rollcall.Sync.Undo;

namespace Rollcall;

/// <summary>Settings of the whole process.</summary>
/// <param name="Storage">Where the data is.</param>
/// <param name="AllowPrivateAddresses">Roster services may be reached over plain http and at loopback and private addresses.</param>
/// <param name="Mail">How e-mail is sent; null when it is not.</param>
/// <param name="PublicUrl">Where people reach the pages, for links in notices; null for none.</param>
/// <param name="PageSize">Rows that roster services are asked for at once; null for the client's own number.</param>
/// <param name="RequireSecondFactor">Whoever signs in with a password sees nothing before a second factor is set up.</param>
public sealed record RollcallOptions(
    StorageOptions Storage,
    bool AllowPrivateAddresses = false,
    MailOptions? Mail = null,
    string? PublicUrl = null,
    int? PageSize = null,
    bool RequireSecondFactor = false
)
{
    /// <summary>The folder of another installation whose master key a rehearsal is tried with, and never made there; null is the data folder.</summary>
    public string? KeyFolder { get; init; }

    /// <summary>How private addresses are allowed, for whoever was refused one.</summary>
    public const string PrivateAddressHint = "For development, ROLLCALL_ALLOW_PRIVATE_ADDRESSES=true allows it.";

    /// <summary>Which addresses that customers type may be called.</summary>
    internal AddressGuard Addresses() => new(AllowPrivateAddresses, PrivateAddressHint);
}

/// <summary>Puts the system together, for the server, the command line and tests alike.</summary>
public static class RollcallServices
{
    public static IServiceCollection AddRollcall(this IServiceCollection services, RollcallOptions options)
    {
        services.TryAddSingleton(TimeProvider.System);
        services.AddLogging();
        services.AddSingleton(options);
        services.AddSingleton(_ => new RollcallDatabase(options.Storage));
        services.AddSingleton(provider =>
            MasterKey.Load(
                Path.GetFullPath(options.KeyFolder ?? options.Storage.DataFolder),
                mayMake: options.KeyFolder is null,
                () => KeyRing.NeedsMasterKey(provider.GetRequiredService<RollcallDatabase>())
            )
        );
        services.AddSingleton(provider => new KeyRing(
            provider.GetRequiredService<RollcallDatabase>(),
            provider.GetRequiredService<MasterKey>(),
            ofRehearsal: options.KeyFolder is not null
        ));
        services.AddDataProtection().SetApplicationName("Rollcall");
        services.AddSingleton<IConfigureOptions<KeyManagementOptions>>(provider => new ConfigureOptions<KeyManagementOptions>(o =>
        {
            o.XmlRepository = provider.GetRequiredService<KeyRing>();
            o.XmlEncryptor = new MasterKeyEncryptor(provider.GetRequiredService<MasterKey>());
        }));
        services.AddSingleton(provider => new Secrets(
            provider.GetRequiredService<IDataProtectionProvider>(),
            provider.GetRequiredService<KeyRing>()
        ));
        services.AddSingleton<Backup>();
        services.AddSingleton<AuditLog>();
        services.AddSingleton<DistrictService>();
        services.AddSingleton<TenantRequests>();
        services.AddSingleton<SiteService>();
        services.AddSingleton<GradeTable>();
        services.AddSingleton<PolicyService>();
        services.AddSingleton<RosterConnections>();
        services.AddSingleton<IntegrationService>();
        services.AddSingleton<ReadinessService>();
        services.AddSingleton<PatronService>();
        services.AddSingleton<PatronImport>();
        services.AddSingleton<PatronMerge>();
        services.AddSingleton<SavedFilters>();
        services.AddSingleton<PatronBulk>();
        services.AddSingleton<PatronErasure>();
        services.AddSingleton<ReviewService>();
        services.AddSingleton<ReviewDecisions>();
        services.AddSingleton<OperationQueue>();
        services.AddSingleton<OperationLog>();
        services.AddSingleton<DailySchedule>();
        services.AddSingleton<Aftermath>();
        services.AddSingleton<NoticeService>();
        services.AddSingleton<IOperationHandler, SyncHandler>();
        services.AddSingleton<IOperationHandler, PlannedHandler>();
        services.AddSingleton<IOperationHandler, UndoHandler>();
        services.AddSingleton<IOperationHandler, PersonHandler>();
        services.AddSingleton<IOperationHandler, ErasureHandler>();
        services.AddSingleton<IOperationHandler, RetentionHandler>();
        services.AddSingleton<IOperationHandler, ReadinessHandler>();
        services.AddSingleton<RetentionService>();
        services.AddSingleton<UndoService>();
        services.AddSingleton<PatronExplain>();
        services.AddSingleton<OperationWorker>();
        services.AddSingleton<OperationFollower>();
        services.AddSignIn();
        return services;
    }
}
